import { beginLong, LONG } from './metering/clock.ts'

/** The host's hold on a filter's linear memory. Nothing outside `lib/host` sees it. */
export type Allocator = (size: number) => number

/** A WebAssembly.Memory: `buffer` is another one after it has grown. */
interface LinearMemory {
  readonly buffer: ArrayBuffer
}

const EMPTY = Buffer.alloc(0)

/** How many texts are kept, a power of two, and how long they may be. */
const KEPT = 128
const MAX_KEPT = 64

/** What stood somewhere, and the name that it is, once somebody has asked for that. */
interface KeptText {
  readonly text: string
  name: string | undefined
}

/** Up to here a loop is faster than a call of Node's own code. */
const SHORT = 40

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
  #bytes: Buffer = EMPTY
  #view: DataView = new DataView(new ArrayBuffer(0))
  readonly #kept: (KeptText | undefined)[] = new Array(KEPT).fill(undefined)

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
    if (length > LONG || length < 0) beginLong()
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

  /**
   * The bytes of the range as a latin1 string, one character per byte; `undefined` when it is out of bounds. A filter has
   * the same few short texts again and again, mostly at the same places: those need not be made into strings anew.
   */
  latin1(pointer: number, length: number): string | undefined {
    if (length <= MAX_KEPT && length > 0) return this.#textAt(pointer, length)?.text
    if (!this.has(pointer, length)) return undefined
    return this.#bytes.toString('latin1', pointer >>> 0, (pointer >>> 0) + (length >>> 0))
  }

  /** The same in lower case, for names. */
  name(pointer: number, length: number): string | undefined {
    if (length > MAX_KEPT || length <= 0) return this.latin1(pointer, length)?.toLowerCase()
    const kept = this.#textAt(pointer, length)
    if (kept === undefined) return undefined
    // As the key of an object, which is found by its address.
    kept.name ??= Object.keys({ [kept.text.toLowerCase()]: undefined })[0]!
    return kept.name
  }

  #textAt(pointer: number, length: number): KeptText | undefined {
    if (!this.has(pointer, length)) return undefined
    const start = pointer >>> 0
    const slot = (start ^ (start >>> 7) ^ length) & (KEPT - 1)
    const kept = this.#kept[slot]
    if (kept !== undefined && kept.text.length === length && this.#holds(kept.text, start)) return kept
    const fresh = { text: this.#bytes.toString('latin1', start, start + length), name: undefined }
    this.#kept[slot] = fresh
    return fresh
  }

  #holds(text: string, start: number): boolean {
    for (let i = 0; i < text.length; i++) if (this.#bytes[start + i] !== text.charCodeAt(i)) return false
    return true
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
    const { length } = bytes
    const pointer = this.#allocateFor(length)
    if (pointer === undefined) return false
    if (length > 0) this.#bytes.set(bytes, pointer)
    this.#tell(pointer, length, pointerCell, sizeCell)
    return true
  }

  /** The same of a string with one character per byte. */
  giveLatin1(text: string, pointerCell: number, sizeCell: number): boolean {
    const { length } = text
    const pointer = this.#allocateFor(length)
    if (pointer === undefined) return false
    if (length > SHORT) this.#bytes.write(text, pointer, 'latin1')
    else for (let i = 0; i < length; i++) this.#bytes[pointer + i] = text.charCodeAt(i)
    this.#tell(pointer, length, pointerCell, sizeCell)
    return true
  }

  #allocateFor(length: number): number | undefined {
    if (length === 0) return 0
    const pointer = this.#allocate!(length) >>> 0
    return pointer === 0 || !this.has(pointer, length) ? undefined : pointer
  }

  #tell(pointer: number, length: number, pointerCell: number, sizeCell: number): void {
    this.#view.setUint32(pointerCell >>> 0, pointer, true)
    this.#view.setUint32(sizeCell >>> 0, length, true)
  }

  /** When a memory grows its old buffer is detached, and views of that have no length (WebAssembly JS API, "refresh"). */
  #refresh(): void {
    if (this.#bytes.length > 0 || this.#memory === undefined) return
    const { buffer } = this.#memory
    this.#bytes = Buffer.from(buffer)
    this.#view = new DataView(buffer)
  }
}
