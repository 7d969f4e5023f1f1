import { LogLevel } from '../abi/constants.ts'
import { writeLog } from '../abi/log.ts'
import type { Instance } from '../instance.ts'
import { MAX_LINE } from '../limits.ts'

const NEWLINE = 10

/** One byte more than is shown, by which it can be seen whether the cut is inside of a character. */
const MAX_KEPT = MAX_LINE + 1

/**
 * Standard output and error of a module: log lines at info and error. A line may come in many small pieces, cut anywhere:
 * until it is whole its beginning is kept.
 */
export class StandardStreams {
  readonly #output: StandardStream
  readonly #error: StandardStream

  constructor(instance: Instance) {
    this.#output = new StandardStream(instance, LogLevel.Info)
    this.#error = new StandardStream(instance, LogLevel.Error)
  }

  /** Whether a line is begun that no newline has ended. */
  get partial(): boolean {
    return this.#output.partial || this.#error.partial
  }

  /** @param fd 1 or 2 */
  write(fd: number, bytes: Buffer): void {
    const stream = fd === 1 ? this.#output : this.#error
    stream.write(bytes)
  }

  /** Logs what no newline has ended: called when a callback is over, since no one knows whether more will come. */
  flush(): void {
    this.#output.flush()
    this.#error.flush()
  }
}

class StandardStream {
  readonly #instance: Instance
  readonly #level: number
  /** The beginning of the line, as latin1. */
  #begun = ''
  /** Of the line so far, also what is not kept. */
  #size = 0

  constructor(instance: Instance, level: number) {
    this.#instance = instance
    this.#level = level
  }

  get partial(): boolean {
    return this.#size > 0
  }

  write(bytes: Buffer): void {
    let from = 0
    for (let to = bytes.indexOf(NEWLINE); to !== -1; to = bytes.indexOf(NEWLINE, from)) {
      if (this.#size > 0) {
        this.#add(bytes, from, to)
        this.flush()
      } else if (to > from) writeLog(this.#instance, this.#level, bytes.subarray(from, to))
      from = to + 1
    }
    this.#add(bytes, from, bytes.length)
  }

  flush(): void {
    if (this.#size === 0) return
    const line = Buffer.from(this.#begun, 'latin1')
    const size = this.#size
    this.#begun = ''
    this.#size = 0
    writeLog(this.#instance, this.#level, line, size)
  }

  #add(bytes: Buffer, from: number, to: number): void {
    const kept = Math.min(to, from + MAX_KEPT - this.#begun.length)
    if (kept > from) this.#begun += bytes.toString('latin1', from, kept)
    this.#size += to - from
  }
}
