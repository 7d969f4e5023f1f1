/** Room for what may come soon, in bytes. */
const MIN_ROOM = 1024

/**
 * Bytes that come bit by bit, in one piece: however small the bits, they take little more memory than they are long. A buffer
 * for each would take some 200 bytes more.
 */
export class GrowingBytes {
  #bytes: Buffer = Buffer.alloc(0)
  /** Where they stand, with room behind them; the only ones that came stand where they are. */
  #room: Buffer | undefined

  get size(): number {
    return this.#bytes.length
  }

  /** All of them. They stay what they are when more come. */
  get bytes(): Buffer {
    return this.#bytes
  }

  add(chunk: Buffer): void {
    const { length } = this.#bytes
    if (length === 0) {
      this.#bytes = chunk
      return
    }
    const size = length + chunk.length
    if (this.#room === undefined || this.#room.length < size) {
      this.#room = Buffer.allocUnsafe(Math.max(MIN_ROOM, Math.ceil(size * 1.5)))
      this.#bytes.copy(this.#room)
    }
    chunk.copy(this.#room, length)
    this.#bytes = this.#room.subarray(0, size)
  }

  /** All of them, which are its own no more. */
  take(): Buffer {
    const bytes = this.#bytes
    this.clear()
    return bytes
  }

  clear(): void {
    this.#bytes = Buffer.alloc(0)
    this.#room = undefined
  }
}
