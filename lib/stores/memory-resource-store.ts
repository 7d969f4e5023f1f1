import { FST_WASM_STORE_FAILED } from '../errors.ts'
import { nameOf, type ResourceKind, type ResourceStore, type StoredResource } from './resource-store.ts'

/** Keeps the objects in the memory of the process. */
export class MemoryResourceStore implements ResourceStore {
  readonly #objects: Map<string, StoredResource> = new Map()
  #revision = 0
  #closed = false

  async load(): Promise<StoredResource[]> {
    return [...this.#objects.values()]
  }

  async write(
    kind: ResourceKind,
    id: string,
    value: Readonly<Record<string, unknown>> | undefined,
    expected: number
  ): Promise<StoredResource> {
    const key = nameOf({ kind, id })
    const current = this.#objects.get(key)
    if (this.#closed) throw new FST_WASM_STORE_FAILED('in memory', 'it is closed')
    if ((current?.modifiedIndex ?? 0) !== expected) {
      throw new FST_WASM_STORE_FAILED('in memory', `${key} has been changed by somebody else`)
    }
    const modifiedIndex = ++this.#revision
    if (value === undefined) {
      this.#objects.delete(key)
      return current!
    }
    const object = { kind, id, value, createdIndex: current?.createdIndex ?? modifiedIndex, modifiedIndex }
    this.#objects.set(key, object)
    return object
  }

  async close(): Promise<void> {
    this.#closed = true
  }
}
