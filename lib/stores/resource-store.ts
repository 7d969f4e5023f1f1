/** The kinds of objects that the Admin API writes, by the names of their lists. */
export const RESOURCE_KINDS = ['routes', 'services', 'upstreams', 'plugin_configs', 'global_rules'] as const
export type ResourceKind = (typeof RESOURCE_KINDS)[number]

/** An object as it is kept. The indexes are of one count over all objects, from 1, which grows with every write. */
export interface StoredResource {
  readonly kind: ResourceKind
  readonly id: string
  readonly value: Readonly<Record<string, unknown>>
  readonly createdIndex: number
  readonly modifiedIndex: number
  /** Why its value cannot be read; there is no more of it than its id then. */
  readonly broken?: string
}

/** What tells objects apart, over all kinds; and how they are called in the log. */
export function nameOf({ kind, id }: Pick<StoredResource, 'kind' | 'id'>): string {
  return `${kind}/${id}`
}

/** What others have written. */
export interface StoreChanges {
  /** What is new, or another one */
  readonly written: readonly StoredResource[]
  readonly deleted: readonly Pick<StoredResource, 'kind' | 'id'>[]
}

/** Others have written meanwhile: `changes` answers what, and then the write may be tried again. */
export class StoreConflict extends Error {}

/** Where the objects that the Admin API writes are kept. */
export interface ResourceStore {
  /**
   * All objects that there are.
   *
   * @throws FST_WASM_STORE_FAILED
   */
  load(): Promise<StoredResource[]>
  /**
   * Keeps an object, or with the value `undefined` deletes it. Resolves when that is durable.
   *
   * @param expected the `modifiedIndex` of the object that is replaced, 0: there is none
   * @returns the object as it is kept, with its indexes (of a deleted one: those that it had)
   * @throws FST_WASM_STORE_FAILED when it cannot be kept, or when there is another than expected; StoreConflict
   */
  write(
    kind: ResourceKind,
    id: string,
    value: Readonly<Record<string, unknown>> | undefined,
    expected: number
  ): Promise<StoredResource>
  /** Of a store that others write to: calls back whenever there may be changes, after `load`. */
  follow?(onChange: () => void): void
  /**
   * What others have written since the last call, or since `load`.
   *
   * @throws FST_WASM_STORE_FAILED
   */
  changes?(): Promise<StoreChanges>
  close(): Promise<void>
}
