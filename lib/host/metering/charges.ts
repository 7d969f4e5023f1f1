import { MAX_EXCEPTION_VALUES } from '../limits.ts'
import { sizeOf } from './byte-writer.ts'
import { type FrameStates, GROWTH } from './frame-states.ts'
import { Bulk, FORMS, Form, numberAt, Op, skipImmediates, skipMemoryArgument, skipNumber } from './instructions.ts'

/** A call of the host, and what has the engine allocate or unwind, cost about as much as so many of the module's own steps. */
const HOST_CALL = 1000
/** An operation on some entries of a table costs about as much. Its entries are charged besides, where they are many. */
const TABLE_OPERATION = 16
/** Compiling so much of the states of frames takes as long as a step may: who is called first is compiled. */
const STATES_PER_UNIT = 80
/** What takes the engine a moment only to compile. */
const FEW_STATES = 256 * 1024
/** A charge of one stands for so many instructions, as a power of two. */
const INSTRUCTIONS_PER_UNIT = 6

/** By opcode, of those that are passed over: what is behind it, and above two bits how much the operand stack grows. */
const PLAIN = FORMS.map((form, opcode) => (form === Form.Other ? 0 : form | (GROWTH[opcode]! << 2)))

/** What is put at a place in a function. The fuel is in a global; loops without calls have it in a local meanwhile. */
export const Kind = {
  /** Nothing, as it turned out */
  Nothing: 0,
  /** `fuel -= price; if (fuel < 0) $out()` */
  Charge: 1,
  /** The same, as the count says that an operation has on the stack */
  ChargeByCount: 2,
  /** The same, of the local */
  ChargeLocal: 3,
  /** `local = fuel` */
  Load: 4,
  /** `fuel = local` */
  Spill: 5,
  /** In place of a `br_if`: the same where it branches */
  SpillAndBranch: 6
} as const
export type Kind = (typeof Kind)[keyof typeof Kind]

/** By place, in their order. */
export class Charges {
  readonly at: number[] = []
  readonly kind: Kind[] = []
  /** Of a charge its price, of a branch its label */
  readonly value: number[] = []

  clear(): void {
    this.at.length = 0
    this.kind.length = 0
    this.value.length = 0
  }

  /** @returns its index */
  add(at: number, kind: Kind, value: number): number {
    this.at.push(at)
    this.value.push(value)
    return this.kind.push(kind) - 1
  }
}

/** What a frame is: not a loop. */
const NO_LOOP = -1
/** The label of the function itself: a branch to it returns. */
const FUNCTION = -1
const EMPTY_TYPE = 0x40

/**
 * Finds out where a function is to be charged: where it begins, at the head of its loops, before calls of the host and what
 * else is dear. One is kept for all functions, since they are many.
 *
 * A loop without calls, and with it the loops in it, has the fuel in a local: a global that is written and read again in
 * each round makes the rounds wait for each other. It is written back where the loop is left.
 */
export class ChargeFinder {
  readonly charges: Charges = new Charges()
  readonly #bytes: Uint8Array
  readonly #importedFunctions: number
  readonly #hostIsReferenced: boolean
  readonly #states: FrameStates
  /** Which frames are open: for a loop its number, and whether a branch to it takes no values with it. */
  readonly #frames: number[] = []
  /** Those that are loops. */
  readonly #openLoops: number[] = []
  readonly #frameIsPlain: boolean[] = []
  /** By number of a loop: its frame, whether calls are in it, the charges that belong to it. */
  readonly #loopFrame: number[] = []
  readonly #loopCalls: boolean[] = []
  readonly #loopHead: number[] = []
  readonly #loopEnd: number[] = []
  /** The first branch in it, the first one behind it, and the first loop behind it. */
  readonly #loopFirstExit: number[] = []
  readonly #loopPastExit: number[] = []
  readonly #loopPast: number[] = []
  /** Branches in loops that may be without calls: their charge, and the frame that they lead to. */
  readonly #exitCharge: number[] = []
  readonly #exitTarget: number[] = []
  /** By index of a charge, of how many instructions. */
  readonly #counts: number[] = []

  constructor(bytes: Uint8Array, importedFunctions: number, hostIsReferenced: boolean, states: FrameStates) {
    this.#bytes = bytes
    this.#importedFunctions = importedFunctions
    this.#hostIsReferenced = hostIsReferenced
    this.#states = states
  }

  /**
   * Fills `charges` for the code of one function.
   *
   * @param locals how many it has, its parameters among them
   * @throws Unsupported
   */
  find(code: number, end: number, locals: number): void {
    const bytes = this.#bytes
    const { charges } = this
    const states = this.#states
    this.#clear()
    states.clear(locals)
    const entry = charges.add(code, Kind.Nothing, 0)
    // The loop that a function begins with is charged in place of the function.
    const outermost = bytes[code] === Op.loop ? NO_LOOP : entry
    this.#counts[entry] = 0
    let region = outermost
    let at = code
    for (;;) {
      at = this.#passOver(at, end, region)
      if (at >= end) break
      const opcode = bytes[at]!
      const next = skipImmediates(bytes, opcode, at + 1)
      states.height += GROWTH[opcode]!
      switch (opcode) {
        case Op.loop:
          states.open(at + 1, true)
          region = this.#beginLoop(at, next)
          break
        case Op.block:
        case Op.if:
        case Op.try:
        case Op.tryTable:
          states.open(at + 1, false)
          this.#frames.push(NO_LOOP)
          this.#frameIsPlain.push(bytes[at + 1] === EMPTY_TYPE)
          break
        case Op.else:
        case Op.catch:
        case Op.catchAll:
          states.next()
          // What was caught may be on the stack.
          if (opcode === Op.catch) states.height += MAX_EXCEPTION_VALUES
          break
        case Op.end:
        case Op.delegate:
          states.close()
          if (this.#endFrame(next)) region = this.#innermost(outermost)
          break
        case Op.br:
        case Op.brOnNull:
        case Op.brOnNonNull:
          this.#leave(at, next, Kind.Spill, numberAt(bytes, at + 1))
          break
        case Op.brIf:
          this.#leave(at, next, Kind.SpillAndBranch, numberAt(bytes, at + 1))
          break
        case Op.brTable:
          this.#leave(at, next, Kind.Spill, outermostOf(bytes, at + 1))
          break
        case Op.return:
          this.#leave(at, next, Kind.Spill, this.#frames.length)
          break
        case Op.call:
        case Op.returnCall:
          states.call(opcode, at + 1)
          this.#noteCall()
          if (numberAt(bytes, at + 1) < this.#importedFunctions) charges.add(at, Kind.Charge, HOST_CALL)
          break
        case Op.callIndirect:
        case Op.returnCallIndirect:
        case Op.callRef:
        case Op.returnCallRef:
          states.call(opcode, at + 1)
          this.#noteCall()
          if (this.#hostIsReferenced) charges.add(at, Kind.Charge, HOST_CALL)
          break
        case Op.throw:
        case Op.rethrow:
        case Op.throwRef:
        case Op.memoryGrow:
          this.#noteCall()
          charges.add(at, Kind.Charge, HOST_CALL)
          break
        case Op.vector:
          states.vector(numberAt(bytes, at + 1))
          break
        case Op.bulk:
          states.bulk(numberAt(bytes, at + 1))
          if (!hasCount(numberAt(bytes, at + 1))) break
          this.#noteCall()
          if (numberAt(bytes, at + 1) >= Bulk.tableInit) charges.add(at, Kind.Charge, TABLE_OPERATION)
          charges.add(at, Kind.ChargeByCount, 0)
          break
      }
      at = next
    }
    this.#decide(outermost)
    if (states.size > FEW_STATES) {
      charges.kind[entry] = Kind.Charge
      charges.value[entry]! += Math.ceil(states.size / STATES_PER_UNIT)
    }
  }

  /**
   * Passes over instructions that change nothing here, which are nearly all.
   *
   * @param region the index of the charge that counts them, if there is one
   * @returns where another one is, which is counted too, or the end
   */
  #passOver(start: number, end: number, region: number): number {
    const bytes = this.#bytes
    let count = 0
    let growth = 0
    let at = start
    while (at < end) {
      count++
      const opcode = bytes[at]!
      const known = PLAIN[opcode]!
      if (known === 0) break
      growth += known >> 2
      const form = known & 3
      if (form === Form.Bare) at++
      else if (form === Form.Number) at = skipNumber(bytes, at + 1)
      else at = skipMemoryArgument(bytes, at + 1)
    }
    this.#states.height += growth
    if (region !== NO_LOOP) this.#counts[region]! += count
    return at
  }

  #clear(): void {
    this.charges.clear()
    this.#frames.length = 0
    this.#openLoops.length = 0
    this.#frameIsPlain.length = 0
    this.#loopFrame.length = 0
    this.#exitCharge.length = 0
    this.#exitTarget.length = 0
  }

  /** @returns the index of its charge */
  #beginLoop(at: number, body: number): number {
    const loop = this.#loopFrame.push(this.#frames.length) - 1
    this.charges.add(at, Kind.Nothing, 0)
    const head = this.charges.add(body, Kind.Charge, 0)
    this.#counts[head] = 0
    this.#loopHead[loop] = head
    this.#loopCalls[loop] = false
    this.#loopFirstExit[loop] = this.#exitCharge.length
    this.#frames.push(loop)
    this.#openLoops.push(loop)
    // Of a loop a branch takes the parameters, which only types with an index have.
    this.#frameIsPlain.push(this.#bytes[at + 1]! >= EMPTY_TYPE && this.#bytes[at + 1]! < 0x80)
    return head
  }

  /** @returns whether it was a loop, or the function */
  #endFrame(next: number): boolean {
    const loop = this.#frames.pop()
    this.#frameIsPlain.pop()
    if (loop === undefined) return true
    if (loop === NO_LOOP) return false
    this.#openLoops.pop()
    this.#loopEnd[loop] = this.charges.add(next, Kind.Nothing, 0)
    this.#loopPastExit[loop] = this.#exitCharge.length
    this.#loopPast[loop] = this.#loopFrame.length
    return true
  }

  /** Who is called takes from the fuel too. */
  #noteCall(): void {
    // Those around one that has calls have them too.
    for (let i = this.#openLoops.length - 1; i >= 0 && !this.#loopCalls[this.#openLoops[i]!]; i--) {
      this.#loopCalls[this.#openLoops[i]!] = true
    }
  }

  /** A branch: it may lead out of a loop. */
  #leave(at: number, next: number, kind: Kind, label: number): void {
    const loop = this.#openLoops.at(-1)
    if (loop === undefined || this.#loopCalls[loop]) return
    const target = this.#frames.length - 1 - label
    // What it takes along to its label could not pass an `if`; nor is one replaced that is longer than it need be.
    const isPlain = target !== FUNCTION && this.#frameIsPlain[target]! && next === at + 1 + sizeOf(label)
    const isReplaced = kind === Kind.SpillAndBranch && isPlain
    this.#exitCharge.push(this.charges.add(at, Kind.Nothing, isReplaced ? label : NO_LOOP))
    this.#exitTarget.push(target)
  }

  /** The charge of the loop that is around, or else of the function. */
  #innermost(outermost: number): number {
    const loop = this.#openLoops.at(-1)
    return loop === undefined ? outermost : this.#loopHead[loop]!
  }

  /** When all is known of the loops: which have the fuel in the local, and the prices. */
  #decide(outermost: number): void {
    const { kind, value } = this.charges
    if (outermost !== NO_LOOP) {
      kind[outermost] = Kind.Charge
      this.#price(outermost)
    }
    for (let loop = 0; loop < this.#loopFrame.length; loop++) {
      const head = this.#loopHead[loop]!
      this.#price(head)
      if (this.#loopCalls[loop]) continue
      kind[head - 1] = Kind.Load
      kind[this.#loopEnd[loop]!] = Kind.Spill
      for (let i = this.#loopFirstExit[loop]!; i < this.#loopPastExit[loop]!; i++) {
        if (this.#exitTarget[i]! >= this.#loopFrame[loop]!) continue
        const exit = this.#exitCharge[i]!
        kind[exit] = value[exit] === NO_LOOP ? Kind.Spill : Kind.SpillAndBranch
      }
      const past = this.#loopPast[loop]!
      for (; ; loop++) {
        this.#price(this.#loopHead[loop]!)
        kind[this.#loopHead[loop]!] = Kind.ChargeLocal
        if (loop + 1 === past) break
      }
    }
  }

  #price(charge: number): void {
    this.charges.value[charge] = 1 + (this.#counts[charge]! >> INSTRUCTIONS_PER_UNIT)
  }
}

/** The label of a `br_table` that is farthest out. */
function outermostOf(bytes: Uint8Array, start: number): number {
  let label = 0
  let at = skipNumber(bytes, start)
  for (let count = numberAt(bytes, start) + 1; count > 0; count--) {
    label = Math.max(label, numberAt(bytes, at))
    at = skipNumber(bytes, at)
  }
  return label
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
