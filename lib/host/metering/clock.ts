/** The fuel that a module is given at a time: how much it does between two looks at the clock. */
const REFILL = 100_000

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
 */
export function enterModule(milliseconds: number): void {
  if (depth++ > 0) return
  calls++
  limit = milliseconds
  stopped = false
}

/** The call is over. */
export function leaveModule(): void {
  depth--
}

/** Whether the call that is under way, or was the last, was stopped since its time was over. */
export function wasStopped(): boolean {
  return stopped
}

/** What a module calls when it has no fuel left: answers how much more it gets, below 0 that it is to stop. */
function refuel(): number {
  if (timed !== calls) {
    timed = calls
    deadline = performance.now() + limit
    return REFILL
  }
  if (performance.now() < deadline) return REFILL
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
