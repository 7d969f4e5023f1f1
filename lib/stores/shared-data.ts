/** A value that filters share, and the number that changes with it. */
export interface SharedValue {
  readonly value: Buffer
  /** Never 0, and another one after every change. */
  readonly cas: number
}

/** Shared data of filters, by `vm_id` and key. It outlives the instances that use it. */
export interface SharedData {
  get(vmId: string, key: string): SharedValue | undefined
  /**
   * @param cas 0 sets in any case; another number only when the value still has it, or there is none
   * @returns whether it was set
   */
  set(vmId: string, key: string, value: Buffer, cas: number): boolean
}

/** Shared data in the memory of this process. */
export class MemorySharedData implements SharedData {
  readonly #values: Map<string, Map<string, SharedValue>> = new Map()
  #lastCas = 0

  get(vmId: string, key: string): SharedValue | undefined {
    return this.#values.get(vmId)?.get(key)
  }

  set(vmId: string, key: string, value: Buffer, cas: number): boolean {
    let values = this.#values.get(vmId)
    if (values === undefined) {
      values = new Map()
      this.#values.set(vmId, values)
    }
    const present = values.get(key)
    if (cas !== 0 && present !== undefined && present.cas !== cas) return false
    // One count for all keys: a key that is deleted and set again never has an old number.
    this.#lastCas = this.#lastCas === 0xffffffff ? 1 : this.#lastCas + 1
    values.set(key, { value, cas: this.#lastCas })
    return true
  }
}
