import { Bulk, numberAt, Op } from './instructions.ts'
import type { FunctionType } from './module-reader.ts'
import { Unsupported } from './unsupported.ts'

/** What V8 keeps of a function that it compiles may be so much: at most half a gigabyte, which takes half a second. */
const MAX_SIZE = 16 * 1024 * 1024
/** A loop costs the optimizing compiler about so many times as much as a block. */
const LOOP_FACTOR = 16
const EMPTY_TYPE = 0x40

/** By opcode, by how much the operand stack grows: of what has neither a type nor an index that says so. */
export const GROWTH: Int8Array = new Int8Array(256)
const setGrowth = (growth: number, first: number, last: number = first) => GROWTH.fill(growth, first, last + 1)
setGrowth(-1, 0x04) // if
setGrowth(-1, 0x0d, 0x0e) // br_if, br_table
setGrowth(-1, 0x11) // call_indirect
setGrowth(-1, 0x14) // call_ref
setGrowth(-1, 0x1a) // drop
setGrowth(-2, 0x1b, 0x1c) // select
setGrowth(1, 0x20) // local.get
setGrowth(-1, 0x21) // local.set
setGrowth(1, 0x23) // global.get
setGrowth(-1, 0x24) // global.set
setGrowth(-2, 0x26) // table.set
setGrowth(-2, 0x36, 0x3e) // stores
setGrowth(1, 0x3f) // memory.size
setGrowth(1, 0x41, 0x44) // constants
setGrowth(-1, 0x46, 0x4f) // comparisons, but for those with zero
setGrowth(-1, 0x51, 0x66)
setGrowth(-1, 0x6a, 0x78) // arithmetic of two operands
setGrowth(-1, 0x7c, 0x8a)
setGrowth(-1, 0x92, 0x98)
setGrowth(-1, 0xa0, 0xa6)
setGrowth(1, 0xd0) // ref.null
setGrowth(1, 0xd2) // ref.func
setGrowth(-1, 0xd3) // ref.eq
setGrowth(-1, 0xd6) // br_on_non_null

/** Of vectors it is the constants alone that grow it; that the others are taken not to make it smaller is on the safe side. */
const V128_CONST = 12

/**
 * What the engine's compilers keep of a function: at the begin of each block what is in its locals and on the operand
 * stack. A few thousand blocks with as many locals take seconds and gigabytes, in the middle of the first call, where
 * nothing interrupts them. The largest functions of real modules have a tenth of what is allowed, and half of it what is
 * not optimized at all.
 */
export class FrameStates {
  readonly #bytes: Uint8Array
  readonly #types: readonly FunctionType[]
  readonly #functions: readonly number[]
  /** How many operands are on the stack, or a few more. */
  height = 0
  /** By open frame: how many stand below it, how many of those on top are its parameters, and how many it leaves. */
  readonly #below: number[] = []
  readonly #parameters: number[] = []
  readonly #results: number[] = []
  #locals = 0
  #frames = 0
  #size = 0

  /** @param functions the types of all functions, by their index */
  constructor(bytes: Uint8Array, types: readonly FunctionType[], functions: readonly number[]) {
    this.#bytes = bytes
    this.#types = types
    this.#functions = functions
  }

  /** A function begins. */
  clear(locals: number): void {
    this.height = 0
    this.#below.length = 0
    this.#parameters.length = 0
    this.#results.length = 0
    this.#locals = locals
    this.#frames = 0
    this.#size = 0
  }

  /** In all blocks together. */
  get size(): number {
    return this.#size
  }

  /**
   * A block begins.
   *
   * @param type where its type stands
   * @throws Unsupported when that is too much for one function
   */
  open(type: number, isLoop: boolean): void {
    const first = this.#bytes[type]!
    let [parameters, results] = [0, first === EMPTY_TYPE ? 0 : 1]
    if (first < EMPTY_TYPE || first >= 0x80) ({ parameters, results } = this.#types[numberAt(this.#bytes, type)]!)
    this.#below.push(this.height - parameters)
    this.#parameters.push(parameters)
    this.#results.push(results)
    this.#frames++
    this.#size += (this.#locals + Math.max(0, this.height)) * (isLoop ? LOOP_FACTOR : 1)
    if (this.#size > MAX_SIZE) {
      const values = this.#locals + Math.max(0, this.height)
      throw new Unsupported(
        `a function with ${values} locals and operands in ${this.#frames} blocks and more, which would take too long to compile`
      )
    }
  }

  /** The other branch of an `if`, or what catches: the stack is as at the begin, with what was caught. */
  next(): void {
    this.height = this.#below.at(-1)! + this.#parameters.at(-1)!
  }

  /** A block ends, or the function. */
  close(): void {
    if (this.#below.length === 0) return
    this.height = this.#below.pop()! + this.#results.pop()!
    this.#parameters.pop()
  }

  /** @param at behind the opcode of a call, where its function or type stands */
  call(opcode: number, at: number): void {
    const index = numberAt(this.#bytes, at)
    const isDirect = opcode === Op.call || opcode === Op.returnCall
    const { parameters, results } = this.#types[isDirect ? this.#functions[index]! : index]!
    this.height += results - parameters
  }

  /** What is behind `bulk`. */
  bulk(code: number): void {
    if (code === Bulk.tableSize) this.height++
    else if (code === Bulk.tableGrow) this.height--
    else if (code >= Bulk.memoryInit && code !== Bulk.dataDrop && code !== Bulk.elemDrop) this.height -= 3
  }

  vector(code: number): void {
    if (code === V128_CONST) this.height++
  }
}
