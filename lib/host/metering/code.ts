import { type ByteWriter, signedSizeOf, sizeOf } from './byte-writer.ts'
import { Bulk, numberAt, Op, skipImmediates, skipNumber, skipType } from './instructions.ts'

/** A call of the host, and what has the engine allocate or unwind, cost about as much as so many of the module's own steps. */
const HOST_CALL = 1000
/** A charge of one stands for so many instructions, as a power of two. */
const INSTRUCTIONS_PER_UNIT = 6
/** An operation on a whole memory does so many bytes at the price of one step, as a power of two. */
const BYTES_PER_UNIT = 4
/** In place of a fixed price: as the count says that the operation has on the stack. */
const BY_COUNT = -1
/** Nothing is charged: the local is given what the global holds. */
const LOAD = -2
/** Nothing at all. */
const NOTHING = -3

/** What is known of a module when its code is rewritten. */
export interface CodeTarget {
  /** How many functions it imports: those with a lower index are the host's */
  readonly importedFunctions: number
  /** By function of its own, how many parameters it has */
  readonly parameters: readonly number[]
  /** Whether the host's functions can be called by way of a table or a reference */
  readonly hostIsReferenced: boolean
  /** Index of the global that holds the fuel */
  readonly fuel: number
  /** Index of the function that is called when there is none left */
  readonly out: number
}

/** What is put between the instructions of a function: where, and at which price. */
class Charges {
  readonly at: number[] = []
  readonly price: number[] = []
  /** Whether the local is known to hold the fuel, which the global is then not read for. */
  readonly isLoaded: boolean[] = []

  clear(): void {
    this.at.length = 0
    this.price.length = 0
    this.isLoaded.length = 0
  }

  /** @returns its index */
  add(at: number, price: number): number {
    this.at.push(at)
    this.isLoaded.push(false)
    return this.price.push(price) - 1
  }
}

/**
 * Rewrites the content of a code section: every function takes from the fuel where it begins, loops at their head, and calls
 * of the host before they are made.
 */
export function rewriteCode(bytes: Uint8Array, start: number, target: CodeTarget, to: ByteWriter): void {
  const count = numberAt(bytes, start)
  let at = skipNumber(bytes, start)
  // With `$out`, which is not there yet.
  to.number(count + 1)
  const charges = new Charges()
  for (let i = 0; i < count; i++) {
    const size = numberAt(bytes, at)
    const body = skipNumber(bytes, at)
    const end = body + size
    rewriteFunction(bytes, body, end, target, target.parameters[i]!, charges, to)
    at = end
  }
}

function rewriteFunction(
  bytes: Uint8Array,
  body: number,
  end: number,
  target: CodeTarget,
  parameters: number,
  charges: Charges,
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
  charges.clear()
  findCharges(bytes, code, end, target, charges)
  if (charges.at.length === 0) {
    to.number(end - body)
    to.copy(bytes, body, end)
    return
  }
  const growth = sizeOf(groups + 1) - (firstGroup - body) + 2
  let size = end - body + growth
  for (let i = 0; i < charges.at.length; i++)
    size += sizeOfCharge(charges.price[i]!, charges.isLoaded[i]!, local, target)
  to.number(size)
  to.number(groups + 1)
  to.copy(bytes, firstGroup, code)
  to.byte(1)
  to.byte(0x7f) // one local of i32
  let from = code
  for (let i = 0; i < charges.at.length; i++) {
    const at = charges.at[i]!
    to.copy(bytes, from, at)
    writeCharge(charges.price[i]!, charges.isLoaded[i]!, local, target, to)
    from = at
  }
  to.copy(bytes, from, end)
}

/** Reused, since functions are many: which frames are loops, and for those the index of their charge. */
const frames: number[] = []
const NO_LOOP = -1
/** By index of a loop's charge: how many instructions it has, and whether calls are among them. */
const counts: number[] = []
const calling: boolean[] = []

function findCharges(bytes: Uint8Array, code: number, end: number, target: CodeTarget, charges: Charges): void {
  const { importedFunctions, hostIsReferenced } = target
  frames.length = 0
  counts.length = 0
  // The loop that a function begins with is charged in place of the function.
  let region = bytes[code] === Op.loop ? NO_LOOP : charges.add(code, 0)
  if (region !== NO_LOOP) counts[region] = 0
  const outermost = region
  let at = code
  while (at < end) {
    const opcode = bytes[at]!
    const next = skipImmediates(bytes, opcode, at + 1)
    if (region !== NO_LOOP) counts[region]!++
    switch (opcode) {
      case Op.loop:
        charges.add(at, LOAD)
        region = charges.add(next, 0)
        counts[region] = 0
        calling[region] = false
        frames.push(region)
        break
      case Op.block:
      case Op.if:
      case Op.try:
      case Op.tryTable:
        frames.push(NO_LOOP)
        break
      case Op.end:
      case Op.delegate: {
        const frame = frames.pop()
        if (frame === NO_LOOP) break
        if (frame !== undefined) endLoop(frame, charges)
        region = innermost(outermost)
        break
      }
      case Op.call:
      case Op.returnCall:
        noteCall()
        if (numberAt(bytes, at + 1) < importedFunctions) charges.add(at, HOST_CALL)
        break
      case Op.callIndirect:
      case Op.returnCallIndirect:
      case Op.callRef:
      case Op.returnCallRef:
        noteCall()
        if (hostIsReferenced) charges.add(at, HOST_CALL)
        break
      case Op.throw:
      case Op.rethrow:
      case Op.throwRef:
      case Op.memoryGrow:
        charges.add(at, HOST_CALL)
        break
      case Op.bulk:
        if (hasCount(numberAt(bytes, at + 1))) charges.add(at, BY_COUNT)
        break
    }
    at = next
  }
  for (let i = 0; i < charges.price.length; i++) {
    if (charges.price[i] === 0) charges.price[i] = 1 + (counts[i]! >> INSTRUCTIONS_PER_UNIT)
  }
}

/** Who is called takes from the fuel too: the loops around cannot know any more what there is. */
function noteCall(): void {
  for (const frame of frames) if (frame !== NO_LOOP) calling[frame] = true
}

/**
 * A loop without calls has the fuel in the local all the time: what is written to the global and read again in the next
 * round would make the rounds wait for each other.
 */
function endLoop(charge: number, charges: Charges): void {
  if (calling[charge]) charges.price[charge - 1] = NOTHING
  else charges.isLoaded[charge] = true
}

/** The loop that is around, or else the function. */
function innermost(outermost: number): number {
  for (let i = frames.length - 1; i >= 0; i--) if (frames[i] !== NO_LOOP) return frames[i]!
  return outermost
}

function hasCount(code: number): boolean {
  switch (code) {
    case Bulk.memoryInit:
    case Bulk.memoryCopy:
    case Bulk.memoryFill:
    case Bulk.tableInit:
    case Bulk.tableCopy:
    case Bulk.tableGrow:
    case Bulk.tableFill:
      return true
    default:
      return false
  }
}

/** As long as what `writeCharge` writes. */
function sizeOfCharge(price: number, isLoaded: boolean, local: number, { fuel, out }: CodeTarget): number {
  const ofFuel = 1 + sizeOf(fuel)
  const ofLocal = 1 + sizeOf(local)
  if (price === NOTHING) return 0
  if (price === LOAD) return ofFuel + ofLocal
  const ofPrice = price === BY_COUNT ? 2 * ofLocal + 3 : 1 + signedSizeOf(price)
  const ofReading = isLoaded ? ofLocal + ofFuel + ofLocal : ofFuel
  return ofReading + ofPrice + 1 + ofLocal + ofFuel + ofLocal + 5 + 1 + sizeOf(out) + 1
}

/** `fuel -= price; if (fuel < 0) $out()`, by way of a local of its own. */
function writeCharge(price: number, isLoaded: boolean, local: number, { fuel, out }: CodeTarget, to: ByteWriter): void {
  if (price === NOTHING) return
  if (price === LOAD) {
    load(local, fuel, to)
    return
  }
  if (price === BY_COUNT) instruction(Op.localTee, local, to)
  if (isLoaded) instruction(Op.localGet, local, to)
  else instruction(Op.globalGet, fuel, to)
  if (price === BY_COUNT) {
    instruction(Op.localGet, local, to)
    constant(BYTES_PER_UNIT, to)
    to.byte(Op.i32ShrU)
  } else {
    constant(price, to)
  }
  to.byte(Op.i32Sub)
  instruction(Op.localTee, local, to)
  instruction(Op.globalSet, fuel, to)
  instruction(Op.localGet, local, to)
  constant(0, to)
  to.byte(Op.i32LtS)
  to.byte(Op.if)
  to.byte(0x40) // without a result
  instruction(Op.call, out, to)
  if (isLoaded) load(local, fuel, to)
  to.byte(Op.end)
}

function load(local: number, fuel: number, to: ByteWriter): void {
  instruction(Op.globalGet, fuel, to)
  instruction(Op.localSet, local, to)
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
  to.byte(0x40)
  to.byte(Op.unreachable)
  to.byte(Op.end)
  to.byte(Op.end)
}
