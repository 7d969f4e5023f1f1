import { lineOf } from './log-line.ts'

/** V8's own default is 10, which is what a panic of Rust alone takes. */
export const BACKTRACE_FRAMES = 48

/** `at name (wasm://wasm/…:wasm-function[12]:0x3f)`, without the brackets where the module has no names. */
const FRAME = /^\s*at (?:(.*) \()?wasm:\/\/.*:wasm-function\[(\d+)\]:0x[0-9a-f]+\)?$/
/** What Rust adds to its names. */
const HASH = /::h[0-9a-f]{16}$/
const MAX_NAME = 200

/**
 * The functions of a module that an error has come through, the innermost first: by name, or `function[12]` where the module
 * has no names. A function that calls itself again and again stands there once.
 */
export function backtraceOf(error: unknown): string[] {
  const names: string[] = []
  let times = 1
  const repeat = () => {
    if (times > 1) names.push(`${names.pop()} (${times} times)`)
    times = 1
  }
  let last: string | undefined
  for (const line of stackOf(error)) {
    const [, name, index] = FRAME.exec(line) ?? []
    if (index === undefined) continue
    const frame =
      name === undefined ? `function[${index}]` : lineOf(Buffer.from(name.replace(HASH, '').slice(0, MAX_NAME)))
    if (frame === last) {
      times++
      continue
    }
    repeat()
    names.push(frame)
    last = frame
  }
  repeat()
  return names
}

/** What an error says of where it comes from, or else its cause. What a module itself throws is none. */
function stackOf(error: unknown): string[] {
  if (!(error instanceof Error)) return []
  const { stack, cause } = error
  const lines = typeof stack === 'string' ? stack.split('\n') : []
  return lines.some((line) => FRAME.test(line)) ? lines : stackOf(cause)
}

/** An application may have frozen what JavaScript has built in. */
const isWritable = Object.getOwnPropertyDescriptor(Error, 'stackTraceLimit')?.writable === true

/** Has errors keep so many frames that they show the module's own functions. @returns what `restoreFrames` is given */
export function keepFrames(): number {
  const before = Error.stackTraceLimit
  if (isWritable && before < BACKTRACE_FRAMES) Error.stackTraceLimit = BACKTRACE_FRAMES
  return before
}

export function restoreFrames(before: number): void {
  if (isWritable) Error.stackTraceLimit = before
}
