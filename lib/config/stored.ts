import { isDeepStrictEqual } from 'node:util'
import { FST_WASM_OPTIONS_INVALID, type WasmError } from '../errors.ts'
import type { ResourceKind, StoredResource } from '../stores/resource-store.ts'
import { checkResource, type Resources, SCHEMAS } from './resources.ts'
import { validate } from './validate.ts'

/** In this order what an object refers to comes before it. */
const ORDER = ['upstreams', 'services', 'plugin_configs', 'global_rules', 'routes'] as const

/** What there is to say of objects of a store. */
export interface StoredProblems {
  /** Of each one that cannot be added, why. */
  refused(object: StoredResource, error: Error): void
  /** Of each one that refers to what is not there: it is added all the same. */
  dangling(object: StoredResource, error: Error): void
}

/** Adds what a store holds to what is declared. */
export function withStored(
  declared: Resources,
  stored: ReadonlyMap<ResourceKind, ReadonlyMap<string, StoredResource>>,
  problems: StoredProblems
): Resources {
  const objects = [...stored.values()].flatMap((ofKind) => [...ofKind.values()])
  return withChanges(declared, (kind, id) => declared[kind].has(id), objects, problems)
}

/** Another value of an object, or (`undefined`) that it is gone. */
export type Change = Pick<StoredResource, 'kind' | 'id' | 'broken'> & {
  readonly value: StoredResource['value'] | undefined
}

/**
 * Resources with some changes made to them, whatever else refers to what is gone.
 *
 * @param isDeclared what is declared stays as it is
 */
export function withChanges<Object extends Change>(
  resources: Resources,
  isDeclared: (kind: ResourceKind, id: string) => boolean,
  changes: readonly Object[],
  problems: { refused(change: Object, error: Error): void; dangling(change: Object, error: Error): void }
): Resources {
  const next: Record<string, Map<string, object>> = {}
  for (const kind of ORDER) next[kind] = new Map<string, object>(resources[kind] as ReadonlyMap<string, object>)
  const result = { ...resources, ...next } as Resources
  for (const { kind, id, value } of changes) if (value === undefined && !isDeclared(kind, id)) next[kind]!.delete(id)
  for (const kind of ORDER) {
    for (const change of changes) {
      const { id, value, broken } = change
      if (change.kind !== kind || value === undefined) continue
      if (isDeclared(kind, id)) {
        problems.refused(change, declaredTwice(kind, id))
        continue
      }
      const dangling: WasmError[] = []
      try {
        if (broken !== undefined) throw new Error(broken)
        next[kind]!.set(id, validate(SCHEMAS[kind], value, `${kind}.${id}`))
        checkResource(result, kind, id, (error) => dangling.push(error))
      } catch (error) {
        next[kind]!.delete(id)
        problems.refused(change, error as Error)
        continue
      }
      for (const error of dangling) problems.dangling(change, error)
    }
  }
  return result
}

function declaredTwice(kind: ResourceKind, id: string): WasmError {
  return new FST_WASM_OPTIONS_INVALID(`${kind}.${id} is declared in the configuration as well`)
}

/** Puts the objects of before in place of those that have the same content: whoever compares them need not look inside. */
export function keepUnchanged(before: Resources, next: Resources): Resources {
  const kept: Record<string, ReadonlyMap<string, object>> = {}
  for (const kind of ['plugins', ...ORDER] as const) {
    const previous = before[kind] as ReadonlyMap<string, object>
    const items = new Map<string, object>()
    for (const [id, item] of next[kind] as ReadonlyMap<string, object>) {
      const old = previous.get(id)
      items.set(id, old !== undefined && isDeepStrictEqual(old, item) ? old : item)
    }
    kept[kind] = items
  }
  return kept as unknown as Resources
}
