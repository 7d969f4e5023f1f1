import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { hostFunctionNames } from './abi/imports.ts'
import type { PluginSettings } from './plugin-settings.ts'

/** The host functions that a plugin may call, by name: the others answer that there is no such function. */
export type AllowedFunctions = ReadonlySet<string> | UseReport

/** Allows all host functions, and logs each one at its first call. */
export class UseReport {
  readonly #used: Set<string> = new Set()

  note(name: string, { name: plugin, log }: PluginSettings): void {
    if (this.#used.has(name)) return
    this.#used.add(name)
    log.info({ plugin, allow: [...this.#used].sort() }, `the filter uses ${name}`)
  }
}

/** So many names are offered in place of one that is wrong. */
const MAX_OFFERED = 3

/**
 * The host functions that a list names.
 *
 * @param list names of the specification or of WASI; a `*` at the end stands for whatever follows
 * @param place where it stands, for the error
 * @throws FST_WASM_OPTIONS_INVALID when one of them names none, with what is near to it
 */
export function allowOnly(list: readonly string[], place: string): ReadonlySet<string> {
  const names = [...new Set(Object.values(hostFunctionNames()).flat())]
  const allowed = new Set<string>()
  const problems: string[] = []
  for (const [i, item] of list.entries()) {
    const named = item.endsWith('*')
      ? names.filter((name) => name.startsWith(item.slice(0, -1)))
      : names.filter((name) => name === item)
    for (const name of named) allowed.add(name)
    if (named.length > 0) continue
    const near = nearTo(item, names)
    const offer = near.length === 0 ? '' : ` (did you mean ${near.join(', ')}?)`
    problems.push(`${place}[${i}]: there is no host function ${JSON.stringify(item)}${offer}`)
  }
  if (problems.length > 0) throw new FST_WASM_OPTIONS_INVALID(problems.join('; '))
  return allowed
}

/** Names that hold the text, or differ from it in few letters, the nearest first. */
function nearTo(text: string, names: readonly string[]): string[] {
  // Also as `inspect` and the log write it, with the module that it is imported from.
  const wanted = text
    .toLowerCase()
    .replace(/^[a-z0-9_]+\./, '')
    .replace(/\*$/, '')
  if (wanted === '') return []
  const most = Math.max(2, wanted.length / 4)
  return names
    .map((name) => ({ name, distance: name.includes(wanted) ? 0 : distanceOf(wanted, name) }))
    .filter(({ distance }) => distance <= most)
    .sort((a, b) => a.distance - b.distance || a.name.length - b.name.length)
    .slice(0, MAX_OFFERED)
    .map(({ name }) => name)
}

/** How many letters must be added, taken away or replaced (Levenshtein). */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[b.length]!
}
