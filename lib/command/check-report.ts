import { styleText } from 'node:util'
import { byteSize } from './byte-size.ts'
import type { Check, CheckedPlugin, CheckedStart } from './check.ts'
import { printable } from './printable.ts'
import { wrap } from './wrap.ts'

const LABEL_WIDTH = 'refused'.length
/** Of what has the same configuration, so many are named. */
const PLACES = 5
/** Lines of a filter that has failed. */
const LOG_LINES = 20

/** What came of a check, for people. */
export function checkReport({ ok, files, errors, ignored, plugins }: Check): string {
  const parts: string[] = []
  if (errors.length > 0) {
    parts.push([title(files.join(', ')), ...errors.map((error) => row('error', error, 'red'))].join('\n'))
  }
  for (const plugin of plugins) parts.push(pluginReport(plugin))
  if (ignored.length > 0) parts.push(wrap(`No effect here: ${ignored.join(', ')}`, '', 0))
  parts.push(ok ? styleText('green', summary(plugins)) : styleText('red', failures(errors, plugins)))
  return `${parts.join('\n\n')}\n`
}

function pluginReport({ name, file, error, module, starts }: CheckedPlugin): string {
  const lines = [title(name)]
  if (module !== null) lines.push(row('module', `${file}, ${byteSize(module.size)}, ABI ${module.abi_version}`))
  if (error !== null) lines.push(row('error', error, 'red'))
  for (const start of starts) lines.push(...startReport(start))
  return lines.join('\n')
}

function startReport({ ok, error, places, log }: CheckedStart): string[] {
  const more = places.length - PLACES
  const named = `${places.slice(0, PLACES).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
  const what = places.length === 0 ? 'it starts; nothing uses it' : named
  const lines = [
    ok ? row('ok', what, 'green') : row('refused', places.length === 0 ? 'it does not start' : named, 'red')
  ]
  if (error !== null) lines.push(row('', error))
  const shown = ok ? log.filter(({ level }) => level !== 'info') : log.slice(-LOG_LINES)
  for (const { level, message } of shown) lines.push(row('', `${level}: ${message}`))
  return lines
}

function row(label: string, text: string, colour?: 'red' | 'green'): string {
  const padded = label.padEnd(LABEL_WIDTH)
  return `  ${colour === undefined ? padded : styleText(colour, padded)}  ${after(LABEL_WIDTH + 4, text)}`
}

/** A text that begins at a column, and stays right of it. */
function after(column: number, text: string): string {
  const lines = printable(text).split('\n')
  return lines
    .map((line) => wrap(line, ' '.repeat(column), 0))
    .join('\n')
    .trimStart()
}

function title(text: string): string {
  return styleText('bold', printable(text))
}

function summary(plugins: readonly CheckedPlugin[]): string {
  return `ok: ${count(plugins.length, 'plugin')}, ${count(configured(plugins).length, 'configuration')}`
}

function failures(errors: readonly string[], plugins: readonly CheckedPlugin[]): string {
  const parts: string[] = []
  if (errors.length > 0) parts.push(count(errors.length, 'error'))
  const unloaded = plugins.filter(({ error }) => error !== null)
  if (unloaded.length > 0) parts.push(`${count(unloaded.length, 'module')} not loaded`)
  const refused = plugins.flatMap(({ starts }) => starts).filter(({ ok }) => !ok)
  if (refused.length > 0) parts.push(`${count(refused.length, 'start')} failed`)
  return `not ok: ${parts.join(', ')}`
}

function configured(plugins: readonly CheckedPlugin[]): CheckedStart[] {
  return plugins.flatMap(({ starts }) => starts).filter(({ places }) => places.length > 0)
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
