import { now } from '../../real-time.ts'

/** The fuel that a module is given at most: how much it does between two looks at the clock. */
const REFILL = 100_000
/** And what it is given at least, and for each millisecond that is left: the slowest instructions need as much. */
const LEAST_REFILL = 10_000
const REFILL_PER_MS = 100

/** Bytes that take a host function some time to handle. */
export const LONG: number = 64 * 1024

/** How deep calls into modules stand in each other: a host function may lead to another instance. */
let depth = 0
/** Counts the outermost calls. */
let calls = 0
/** The call that the deadline is for. */
let timed = 0
/** Milliseconds that the call may take. */
let limit = 0
let deadline = 0
let stopped = false

/**
 * A call into a module begins. Only the outermost one has a time of its own: those in it are a part of it. Its clock starts
 * when the module asks for fuel for the first time, so that a short call costs two writes.
 *
 * @param milliseconds that it may take; `Infinity`: as long as it likes
 * @returns how deep it stands, for `leaveModule`
 */
export function enterModule(milliseconds: number): number {
  const before = depth++
  if (before > 0) return before
  calls++
  limit = milliseconds
  stopped = false
  isLong = false
  return before
}

/** The call is over, and with it all that stood in it: where the stack was full, they may have ended without a word. */
export function leaveModule(before: number): void {
  depth = before
}

/** Whether a call into a module is under way. */
export function isInModule(): boolean {
  return depth > 0
}

/** Whether the call that is under way, or was the last, was stopped since its time was over. */
export function wasStopped(): boolean {
  return stopped
}

/** Whether the host function that is under way has begun something that may take long. */
export let isLong = false

/** Something begins in a host function that may take long, of which the module's own fuel would know nothing. */
export function beginLong(): void {
  isLong = true
  startClock()
}

/**
 * A host function has done something that may have taken long.
 *
 * @throws when the time of the call is over: the module is left here
 */
export function endLong(): void {
  isLong = false
  if (!isOver()) return
  throw new Error('its time was over when a host function returned')
}

/** Milliseconds until the call is to stop. */
export function timeLeft(): number {
  startClock()
  return Math.max(0, deadline - now())
}

function startClock(): void {
  if (timed === calls) return
  timed = calls
  deadline = now() + limit
}

function isOver(): boolean {
  if (now() < deadline) return false
  stopped = true
  return true
}

/** What a module calls when it has no fuel left: answers how much more it gets, below 0 that it is to stop. */
function refuel(): number {
  startClock()
  const left = deadline - now()
  if (left > 0) return Math.min(REFILL, LEAST_REFILL + REFILL_PER_MS * left)
  stopped = true
  return -1
}

/**
 * `(module (import "" "refuel" (func (result i32))) (export "refuel" (func 0)))`: a function of JavaScript cannot stand in a
 * table, one that a module exports can.
 */
const REEXPORT = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7f],
  ...[0x02, 0x0b, 0x01, 0x00, 0x06, ...Buffer.from('refuel'), 0x00, 0x00],
  ...[0x07, 0x0a, 0x01, 0x06, ...Buffer.from('refuel'), 0x00, 0x00]
)

let hook: unknown

/**
 * Puts the hook into the table of an instance, before anything of it runs.
 *
 * @param table the export that `instrument` has added
 */
export function arm(table: unknown): void {
  hook ??= new WebAssembly.Instance(new WebAssembly.Module(REEXPORT), { '': { refuel } }).exports.refuel
  ;(table as { set(index: number, value: unknown): void }).set(0, hook)
}
