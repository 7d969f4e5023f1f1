import { AdminError } from './admin-error.ts'

type Fields = Readonly<Record<string, unknown>>

/** Merges deeply: `null` deletes, lists are replaced. */
export function mergePatch(value: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const merged: Record<string, unknown> = isObject(value) ? { ...value } : {}
  for (const [key, item] of Object.entries(patch)) {
    if (item === null) delete merged[key]
    else merged[key] = mergePatch(Object.hasOwn(merged, key) ? merged[key] : undefined, item)
  }
  return merged
}

/**
 * Replaces what stands at a path. Objects on the way there are made when they are not there.
 *
 * @throws AdminError 400 when nothing could stand there
 */
export function replaceAt(value: unknown, path: readonly string[], replacement: unknown): unknown {
  const parents: unknown[] = []
  let next = value
  for (const [depth, key] of path.entries()) {
    const parent = next ?? {}
    const isPlace = Array.isArray(parent) ? isIndex(key) && Number(key) <= parent.length : isObject(parent)
    if (!isPlace) throw new AdminError(400, `invalid sub-path: /${path.slice(0, depth + 1).join('/')}`)
    parents.push(parent)
    next = Object.hasOwn(parent, key) ? (parent as Fields)[key] : undefined
  }
  return parents.reduceRight((item, parent, depth) => {
    const key = path[depth]!
    if (!Array.isArray(parent)) return { ...(parent as Fields), [key]: item }
    const copy = [...parent]
    copy[Number(key)] = item
    return copy
  }, replacement)
}

function isIndex(key: string): boolean {
  return /^(?:0|[1-9]\d*)$/.test(key)
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
