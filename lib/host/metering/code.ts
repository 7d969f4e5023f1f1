import { type ByteWriter, signedSizeOf, sizeOf } from './byte-writer.ts'
import { ChargeFinder, Kind } from './charges.ts'
import { FrameStates } from './frame-states.ts'
import { numberAt, Op, skipNumber, skipType } from './instructions.ts'
import type { FunctionType } from './module-reader.ts'

/** An operation on a whole memory does so many bytes at the price of one step, as a power of two. */
const BYTES_PER_UNIT = 4
const EMPTY_TYPE = 0x40

/** What is known of a module when its code is rewritten. */
export interface CodeTarget {
  /** How many functions it imports: those with a lower index are the host's */
  readonly importedFunctions: number
  readonly types: readonly FunctionType[]
  /** The types of all functions, by their index */
  readonly functions: readonly number[]
  /** Whether the host's functions can be called by way of a table or a reference */
  readonly hostIsReferenced: boolean
  /** Index of the global that holds the fuel */
  readonly fuel: number
  /** Index of the function that is called when there is none left */
  readonly out: number
}

/** So many bytes of code are rewritten at a time: some milliseconds. */
const AT_A_TIME = 16 * 1024

/**
 * Rewrites the content of a code section, but for the function `$out`, which is still to be written. In steps, between which
 * something else may be done.
 */
export function* rewriteCode(bytes: Uint8Array, start: number, target: CodeTarget, to: ByteWriter): Generator<void> {
  const count = numberAt(bytes, start)
  let at = skipNumber(bytes, start)
  to.number(count + 1)
  const { importedFunctions, functions, types } = target
  const states = new FrameStates(bytes, types, functions)
  const finder = new ChargeFinder(bytes, importedFunctions, target.hostIsReferenced, states)
  let next = at + AT_A_TIME
  for (let i = 0; i < count; i++) {
    const body = skipNumber(bytes, at)
    const end = body + numberAt(bytes, at)
    const { parameters } = types[functions[importedFunctions + i]!]!
    rewriteFunction(bytes, body, end, target, parameters, finder, to)
    at = end
    if (at < next) continue
    next = at + AT_A_TIME
    yield
  }
}

function rewriteFunction(
  bytes: Uint8Array,
  body: number,
  end: number,
  target: CodeTarget,
  parameters: number,
  finder: ChargeFinder,
  to: ByteWriter
): void {
  const groups = numberAt(bytes, body)
  const firstGroup = skipNumber(bytes, body)
  let local = parameters
  let code = firstGroup
  for (let i = 0; i < groups; i++) {
    local += numberAt(bytes, code)
    code = skipType(bytes, skipNumber(bytes, code))
  }
  finder.find(code, end, local)
  const { at, kind, value } = finder.charges
  let size = end - firstGroup + sizeOf(groups + 1) + 2
  for (let i = 0; i < at.length; i++) size += growthOf(kind[i]!, value[i]!, local, target)
  to.number(size)
  to.number(groups + 1)
  to.copy(bytes, firstGroup, code)
  to.byte(1)
  to.byte(0x7f) // one local of i32
  let from = code
  for (let i = 0; i < at.length; i++) {
    to.copy(bytes, from, at[i]!)
    write(kind[i]!, value[i]!, local, target, to)
    from = at[i]!
    if (kind[i] === Kind.SpillAndBranch) from = skipNumber(bytes, from + 1)
  }
  to.copy(bytes, from, end)
}

/** By how much a function grows with what `write` writes. */
function growthOf(kind: Kind, value: number, local: number, { fuel, out }: CodeTarget): number {
  const ofFuel = 1 + sizeOf(fuel)
  const ofLocal = 1 + sizeOf(local)
  const ofOut = 1 + sizeOf(out)
  const ofPrice = 1 + signedSizeOf(value)
  switch (kind) {
    case Kind.Charge:
      return ofFuel + ofPrice + 1 + ofLocal + ofFuel + ofLocal + 5 + ofOut + 1
    case Kind.ChargeByCount:
      return ofLocal + ofFuel + ofLocal + 3 + 1 + ofLocal + ofFuel + ofLocal + 5 + ofOut + 1
    case Kind.ChargeLocal:
      return ofLocal + ofPrice + 1 + ofLocal + 5 + ofOut + ofFuel + ofLocal + 1
    case Kind.Load:
    case Kind.Spill:
      return ofFuel + ofLocal
    case Kind.SpillAndBranch:
      // The `br_if` itself goes.
      return 2 + ofLocal + ofFuel + (1 + sizeOf(value + 1)) + 1 - (1 + sizeOf(value))
    default:
      return 0
  }
}

function write(kind: Kind, value: number, local: number, target: CodeTarget, to: ByteWriter): void {
  const { fuel } = target
  switch (kind) {
    case Kind.Charge:
      instruction(Op.globalGet, fuel, to)
      constant(value, to)
      takeFromGlobal(local, target, to)
      return
    case Kind.ChargeByCount:
      instruction(Op.localTee, local, to)
      instruction(Op.globalGet, fuel, to)
      instruction(Op.localGet, local, to)
      constant(BYTES_PER_UNIT, to)
      to.byte(Op.i32ShrU)
      takeFromGlobal(local, target, to)
      return
    case Kind.ChargeLocal:
      instruction(Op.localGet, local, to)
      constant(value, to)
      to.byte(Op.i32Sub)
      instruction(Op.localTee, local, to)
      ifBelowZero(target, to)
      load(local, fuel, to)
      to.byte(Op.end)
      return
    case Kind.Load:
      load(local, fuel, to)
      return
    case Kind.Spill:
      spill(local, fuel, to)
      return
    case Kind.SpillAndBranch:
      to.byte(Op.if)
      to.byte(EMPTY_TYPE)
      spill(local, fuel, to)
      instruction(Op.br, value + 1, to)
      to.byte(Op.end)
      return
  }
}

/** `fuel -= …; if (fuel < 0) $out()`, by way of a local; what is subtracted from what is on the stack. */
function takeFromGlobal(local: number, target: CodeTarget, to: ByteWriter): void {
  to.byte(Op.i32Sub)
  instruction(Op.localTee, local, to)
  instruction(Op.globalSet, target.fuel, to)
  instruction(Op.localGet, local, to)
  ifBelowZero(target, to)
  to.byte(Op.end)
}

function ifBelowZero({ out }: CodeTarget, to: ByteWriter): void {
  constant(0, to)
  to.byte(Op.i32LtS)
  to.byte(Op.if)
  to.byte(EMPTY_TYPE)
  instruction(Op.call, out, to)
}

function load(local: number, fuel: number, to: ByteWriter): void {
  instruction(Op.globalGet, fuel, to)
  instruction(Op.localSet, local, to)
}

function spill(local: number, fuel: number, to: ByteWriter): void {
  instruction(Op.localGet, local, to)
  instruction(Op.globalSet, fuel, to)
}

function instruction(opcode: number, index: number, to: ByteWriter): void {
  to.byte(opcode)
  to.number(index)
}

/** A number that is not negative: its highest bit is the sign. */
function constant(value: number, to: ByteWriter): void {
  to.byte(Op.i32Const)
  let rest = value
  while (rest > 63) {
    to.byte((rest & 127) | 128)
    rest >>>= 7
  }
  to.byte(rest)
}

/**
 * The function that is called when there is no fuel left: it asks the hook in the table for more, and traps when it gets
 * none. What is thrown by the host a module could catch, a trap it cannot.
 *
 * @param hookType index of the type `() -> i32`
 * @param table index of the table that has the hook in its only place
 */
export function writeOut(hookType: number, table: number, fuel: number, to: ByteWriter): void {
  const size = 14 + sizeOf(hookType) + sizeOf(table) + 2 * sizeOf(fuel)
  to.number(size)
  to.byte(0) // no locals
  constant(0, to)
  to.byte(Op.callIndirect)
  to.number(hookType)
  to.number(table)
  instruction(Op.globalSet, fuel, to)
  instruction(Op.globalGet, fuel, to)
  constant(0, to)
  to.byte(Op.i32LtS)
  to.byte(Op.if)
  to.byte(EMPTY_TYPE)
  to.byte(Op.unreachable)
  to.byte(Op.end)
  to.byte(Op.end)
}
