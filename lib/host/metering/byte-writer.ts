/** Bytes that grow at their end. */
export class ByteWriter {
  #bytes: Buffer
  #length = 0

  /** @param expected how many bytes there will be, about */
  constructor(expected: number) {
    this.#bytes = Buffer.allocUnsafe(expected)
  }

  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  get length(): number {
    return this.#length
  }

  byte(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = value
  }

  /** An unsigned number, in LEB128. */
  number(value: number): void {
    this.#reserve(5)
    let rest = value
    while (rest > 127) {
      this.#bytes[this.#length++] = (rest & 127) | 128
      rest >>>= 7
    }
    this.#bytes[this.#length++] = rest
  }

  /** Copies a part of other bytes. */
  copy(source: Uint8Array, from: number, to: number): void {
    this.#reserve(to - from)
    const bytes = this.#bytes
    let at = this.#length
    this.#length = at + to - from
    // A loop is faster where there is little, as there is between two instructions that something is put between.
    if (to - from < 48) for (let i = from; i < to; i++) bytes[at++] = source[i]!
    else bytes.set(source.subarray(from, to), at)
  }

  name(text: string): void {
    const bytes = Buffer.from(text)
    this.number(bytes.length)
    this.copy(bytes, 0, bytes.length)
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#length + size))
    larger.set(this.bytes)
    this.#bytes = larger
  }
}

/** How many bytes an unsigned number takes in LEB128. */
export function sizeOf(value: number): number {
  let size = 1
  for (let rest = value >>> 7; rest > 0; rest >>>= 7) size++
  return size
}

/** How many bytes a number that is not negative takes where a signed one stands, as in `i32.const`. */
export function signedSizeOf(value: number): number {
  return sizeOf(value * 2)
}
