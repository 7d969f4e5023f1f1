import type { Resources } from '../../config/resources.ts'
import type { ResourceKind, StoredResource } from '../../stores/resource-store.ts'

/** What the Admin API reads and changes. */
export interface AdminTarget {
  /** All that is in effect: of the options, of the file, and what is stored. */
  readonly resources: Resources
  /** What the Admin API has written, by kind and id. */
  readonly stored: ReadonlyMap<ResourceKind, ReadonlyMap<string, StoredResource>>
  /** Whether an object is declared in the options or in the file, where alone it can be changed. */
  isDeclared(kind: ResourceKind, id: string): boolean
  /**
   * Changes one object. Writers take turns, so what `update` is given is what it replaces. The new value is checked
   * against all that is in effect, kept in the store, and in effect for the next request: all of it, or nothing.
   *
   * @param id or what chooses it, in the turn of the write
   * @param update answers the new value, or `undefined` to delete the object; what it throws refuses the change
   * @throws what `update` throws; FST_WASM_… of what is wrong with the value; FST_WASM_STORE_FAILED
   */
  write(
    kind: ResourceKind,
    id: string | (() => string),
    update: (current: StoredResource | undefined) => Readonly<Record<string, unknown>> | undefined
  ): Promise<StoredResource>
  /** Reads the files and modules again. */
  reload(): Promise<void>
}
