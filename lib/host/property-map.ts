import { MAX_NAME, MAX_PROPERTIES, MAX_PROPERTY_BYTES } from './limits.ts'

/** Properties that filters have set, by path. */
export class PropertyMap {
  readonly #values: Map<string, Buffer> = new Map()
  #bytes = 0

  get(path: string): Buffer | undefined {
    return this.#values.get(path)
  }

  [Symbol.iterator](): Iterator<[string, Buffer]> {
    return this.#values[Symbol.iterator]()
  }

  /** Another one with the same in it. */
  copy(): PropertyMap {
    const copy = new PropertyMap()
    for (const [path, value] of this.#values) copy.#values.set(path, value)
    copy.#bytes = this.#bytes
    return copy
  }

  /**
   * @param value is valid for as long as the call lasts: what is kept is a copy
   * @returns false when there is no room for it, and what was there stays
   */
  set(path: string, value: Uint8Array): boolean {
    const present = this.#values.get(path)
    const growth = value.length - (present === undefined ? -path.length : present.length)
    const isFull = present === undefined && this.#values.size >= MAX_PROPERTIES
    if (isFull || path.length > MAX_NAME || this.#bytes + growth > MAX_PROPERTY_BYTES) return false
    this.#values.set(path, Buffer.from(value))
    // Last: where the stack is full the others fail.
    this.#bytes += growth
    return true
  }
}
