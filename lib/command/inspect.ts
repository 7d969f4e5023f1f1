import { readFile } from 'node:fs/promises'
import { styleText } from 'node:util'
import { type Inspection, inspectModule } from '../host/index.ts'
import { byteSize } from './byte-size.ts'
import type { Values } from './command-line.ts'
import { printable } from './printable.ts'
import { wrap } from './wrap.ts'

const PAGE_SIZE = 65_536
const LABEL_WIDTH = 'never called'.length

/** A file, with what is in it or why it cannot be read. */
type Inspected = { file: string } & (Inspection | { problem: string })

/** Describes modules. */
export async function inspect(files: readonly string[], { json }: Values): Promise<number> {
  const modules: Inspected[] = []
  for (const file of files) modules.push({ file, ...(await inspectFile(file)) })
  const ok = modules.every(({ problem }) => problem === null)
  if (json) process.stdout.write(`${JSON.stringify({ ok, modules }, undefined, 2)}\n`)
  else process.stdout.write(`${modules.map(describe).join('\n\n')}\n`)
  return ok ? 0 : 1
}

async function inspectFile(file: string): Promise<Inspection | { problem: string }> {
  let bytes: Buffer
  try {
    bytes = await readFile(file)
  } catch (error) {
    return { problem: `it cannot be read: ${(error as Error).message}` }
  }
  return inspectModule(bytes)
}

function describe(module: Inspected): string {
  const lines = [styleText('bold', printable(module.file))]
  if (module.problem !== null) lines.push(styleText('red', row('problem', module.problem)))
  if ('size' in module) {
    lines.push(row('size', `${byteSize(module.size)}${module.size < 1024 ? '' : ` (${module.size} bytes)`}`))
    lines.push(row('sha256', module.sha256))
    if (module.compiles) lines.push(...facts(module))
  }
  return lines.join('\n')
}

function facts({ abi_version, abi_markers, sdk, callbacks, uncalled, missing, ...module }: Inspection): string[] {
  const marker = `proxy_abi_version_${abi_version?.replaceAll('.', '_')}`
  const others = abi_markers.filter((name) => name !== marker)
  const lines = [
    row('ABI', `${abi_version ?? 'none'}${others.length === 0 ? '' : ` (it exports ${others.join(', ')})`}`),
    row('SDK', sdk === null ? 'not known' : [sdk.language, sdk.sdk, sdk.compiler].filter((part) => part).join(', ')),
    row('memory', module.memory === null ? 'none' : memorySize(module.memory)),
    row('entry', module.entry ?? 'none'),
    row('allocator', module.allocator ?? 'none'),
    row('callbacks', listOf(callbacks.filter((name) => !uncalled.includes(name))))
  ]
  if (uncalled.length > 0) lines.push(row('never called', listOf(uncalled)))
  const imports = Object.entries(module.imports).map(([name, functions]) => `${name}: ${listOf(functions)}`)
  for (const text of imports.length === 0 ? ['none'] : imports) lines.push(row('imports', text))
  const absent = row('missing', listOf(missing))
  lines.push(missing.length === 0 ? absent : styleText('yellow', absent))
  return lines
}

function row(label: string, text: string): string {
  return wrap(`${label.padEnd(LABEL_WIDTH)}  ${printable(text)}`, '  ', LABEL_WIDTH + 2)
}

function listOf(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.join(', ')
}

function memorySize({ initial_pages, maximum_pages }: NonNullable<Inspection['memory']>): string {
  const most = maximum_pages === null ? 'no maximum' : `at most ${pages(maximum_pages)}`
  return `${pages(initial_pages)}, ${most}`
}

function pages(count: number): string {
  return `${count} ${count === 1 ? 'page' : 'pages'} (${byteSize(count * PAGE_SIZE)})`
}
