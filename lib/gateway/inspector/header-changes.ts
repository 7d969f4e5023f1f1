import { shownValue } from './redaction.ts'

/** What a filter has changed of a header, as it may be shown. */
export interface HeaderChange {
  readonly of: 'request' | 'response'
  readonly name: string
  /** `undefined`: there was none */
  readonly before: string | undefined
  /** `undefined`: there is none any more */
  readonly after: string | undefined
}

/** Compares two lists of headers: name, value, … The values of one name belong together. */
export function headerChanges(
  of: HeaderChange['of'],
  before: readonly string[],
  after: readonly string[]
): HeaderChange[] {
  if (before.length === after.length && before.every((text, i) => text === after[i])) return []
  const old = valuesOf(before)
  const now = valuesOf(after)
  const changes: HeaderChange[] = []
  for (const [name, values] of now) {
    const previous = old.get(name) ?? []
    if (values.length === previous.length && values.every((value, i) => value === previous[i])) continue
    // What stays needs no mention.
    const added = without(values, previous)
    const removed = without(previous, values)
    for (let i = 0; i < Math.max(added.length, removed.length); i++) {
      changes.push(change(of, name, removed[i], added[i]))
    }
  }
  for (const [name, values] of old) {
    if (now.has(name)) continue
    for (const value of values) changes.push(change(of, name, value, undefined))
  }
  return changes
}

function change(
  of: HeaderChange['of'],
  name: string,
  before: string | undefined,
  after: string | undefined
): HeaderChange {
  const shown = (value: string | undefined) => (value === undefined ? undefined : shownValue(name, value))
  return { of, name, before: shown(before), after: shown(after) }
}

function valuesOf(headers: readonly string[]): Map<string, string[]> {
  const values = new Map<string, string[]>()
  for (let i = 0; i < headers.length; i += 2) {
    const others = values.get(headers[i]!)
    if (others === undefined) values.set(headers[i]!, [headers[i + 1]!])
    else others.push(headers[i + 1]!)
  }
  return values
}

/** Each value of a list as often as it is there more often than in another one. */
function without(list: readonly string[], others: readonly string[]): string[] {
  const rest = [...others]
  return list.filter((value) => {
    const at = rest.indexOf(value)
    if (at === -1) return true
    rest.splice(at, 1)
    return false
  })
}
