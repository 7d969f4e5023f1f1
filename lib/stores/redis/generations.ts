/** How many counters there are; keys whose hash is the same share one. */
const SLOTS = 16_384

/** Counts changes of keys, in memory that two threads share: who keeps a copy of a value sees by it whether it is still right. */
export class Generations {
  readonly #counts: Int32Array

  constructor(buffer: SharedArrayBuffer) {
    this.#counts = new Int32Array(buffer)
  }

  static buffer(): SharedArrayBuffer {
    return new SharedArrayBuffer(SLOTS * Int32Array.BYTES_PER_ELEMENT)
  }

  of(slot: number): number {
    return Atomics.load(this.#counts, slot)
  }

  bump(slot: number): void {
    Atomics.add(this.#counts, slot, 1)
  }
}

/** The slot of a key that is given as latin1. FNV-1a. */
export function slotOf(key: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193)
  return (hash >>> 0) % SLOTS
}
