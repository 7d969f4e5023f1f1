/** The host's hold on a filter's linear memory. Nothing outside `lib/host` sees it. */
export type Allocator = (size: number) => number

/** A WebAssembly.Memory: `buffer` is another one after it has grown. */
interface LinearMemory {
  readonly buffer: ArrayBuffer
}

const EMPTY = Buffer.alloc(0)

/**
 * The linear memory of one instance. Every pointer and length that a module hands over goes through here: they are
 * unsigned, a range past the end is refused (never read, never an exception), and the views are made anew whenever the
 * memory has grown, which any call into the module may cause, the allocator's included.
 *
 * Before `attach` there is no memory (a start section runs before the host can see the exports): each range that is not
 * empty is then out of bounds.
 */
export class Memory {
  #memory: LinearMemory | undefined
  #allocate: Allocator | undefined
  #attached: ArrayBuffer | undefined
  #bytes: Buffer = EMPTY
  #view: DataView = new DataView(new ArrayBuffer(0))

  attach(memory: LinearMemory, allocate: Allocator): void {
    this.#memory = memory
    this.#allocate = allocate
    this.#refresh()
  }

  /** Bytes of linear memory, 0 while there is none. */
  get size(): number {
    this.#refresh()
    return this.#bytes.length
  }

  /**
   * Whether `length` bytes may be read or written at `pointer`. An empty range is everywhere.
   *
   * @param length as the module gave it, or a product of that: only a negative one is an unsigned number in disguise, and
   *   a product may be more than 2^32, which must not wrap
   */
  has(pointer: number, length: number): boolean {
    this.#refresh()
    return length === 0 || (pointer >>> 0) + (length < 0 ? length >>> 0 : length) <= this.#bytes.length
  }

  /** A view of the range, valid until the next call into the module; `undefined` when it is out of bounds. */
  view(pointer: number, length: number): Buffer | undefined {
    if (!this.has(pointer, length)) return undefined
    if (length === 0) return EMPTY
    return this.#bytes.subarray(pointer >>> 0, (pointer >>> 0) + (length >>> 0))
  }

  /** A copy of the range; `undefined` when it is out of bounds. */
  copy(pointer: number, length: number): Buffer | undefined {
    const view = this.view(pointer, length)
    return view === undefined ? undefined : Buffer.from(view)
  }

  /** The bytes of the range as a latin1 string, one character per byte; `undefined` when it is out of bounds. */
  latin1(pointer: number, length: number): string | undefined {
    return this.view(pointer, length)?.toString('latin1')
  }

  /** The range decoded as UTF-8; `undefined` when it is out of bounds. */
  utf8(pointer: number, length: number): string | undefined {
    return this.view(pointer, length)?.toString('utf8')
  }

  /** Reads a little-endian u32. The caller has checked the range. */
  u32(pointer: number): number {
    this.#refresh()
    return this.#view.getUint32(pointer >>> 0, true)
  }

  /** Writes a little-endian u32. The caller has checked the range. */
  setU32(pointer: number, value: number): void {
    this.#refresh()
    this.#view.setUint32(pointer >>> 0, value >>> 0, true)
  }

  /** Reads a little-endian u64. The caller has checked the range. */
  u64(pointer: number): bigint {
    this.#refresh()
    return this.#view.getBigUint64(pointer >>> 0, true)
  }

  /** Writes a little-endian u64. The caller has checked the range. */
  setU64(pointer: number, value: bigint): void {
    this.#refresh()
    this.#view.setBigUint64(pointer >>> 0, BigInt.asUintN(64, value), true)
  }

  /** Writes bytes. The caller has checked the range. */
  write(pointer: number, bytes: Uint8Array): void {
    this.#refresh()
    this.#bytes.set(bytes, pointer >>> 0)
  }

  /**
   * Hands bytes to the module: allocates in it, copies, and writes the pointer and size cells.
   *
   * Empty bytes are 0/0 without a call of the allocator, which Go's panics at. The caller has checked the
   * two cells.
   *
   * @returns whether it went well; false when the allocator gave no usable memory
   */
  give(bytes: Uint8Array, pointerCell: number, sizeCell: number): boolean {
    let pointer = 0
    if (bytes.length > 0) {
      pointer = this.#allocate!(bytes.length) >>> 0
      if (pointer === 0 || !this.has(pointer, bytes.length)) return false
      this.write(pointer, bytes)
    }
    this.setU32(pointerCell, pointer)
    this.setU32(sizeCell, bytes.length)
    return true
  }

  #refresh(): void {
    const memory = this.#memory
    if (memory === undefined || memory.buffer === this.#attached) return
    this.#attached = memory.buffer
    this.#bytes = Buffer.from(memory.buffer)
    this.#view = new DataView(memory.buffer)
  }
}
