import { AdminError } from './admin-error.ts'

type Fields = Readonly<Record<string, unknown>>

/** Merges deeply: `null` deletes, lists are replaced. */
export function mergePatch(value: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const merged: Record<string, unknown> = isObject(value) ? { ...value } : {}
  for (const [key, item] of Object.entries(patch)) {
    if (item === null) delete merged[key]
    else merged[key] = mergePatch(merged[key], item)
  }
  return merged
}

/**
 * Replaces what stands at a path.
 *
 * @throws AdminError 400 when nothing could stand there
 */
export function replaceAt(value: unknown, path: readonly string[], replacement: unknown): unknown {
  const [key, ...rest] = path
  if (key === undefined) return replacement
  if (Array.isArray(value)) {
    const index = Number(key)
    if (!Number.isInteger(index) || index < 0 || index > value.length) throw noSuchPath(key)
    const copy = [...value]
    copy[index] = replaceAt(value[index], rest, replacement)
    return copy
  }
  if (value !== undefined && !isObject(value)) throw noSuchPath(key)
  return { ...value, [key]: replaceAt(value?.[key], rest, replacement) }
}

function noSuchPath(key: string): AdminError {
  return new AdminError(400, `invalid sub-path: there is no place for ${JSON.stringify(key)}`)
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
