import { LogLevel } from '../abi/constants.ts'
import { writeLog } from '../abi/log.ts'
import type { Instance } from '../instance.ts'

const MAX_PARTIAL_LINE = 64 * 1024

/**
 * Standard output and error of a module: log lines at info and error. A line may come in many small pieces, cut anywhere:
 * until it is whole its bytes are kept as latin1.
 */
export class StandardStreams {
  readonly #instance: Instance
  #output = ''
  #error = ''

  constructor(instance: Instance) {
    this.#instance = instance
  }

  /** Whether a line is begun that no newline has ended. */
  get partial(): boolean {
    return this.#output !== '' || this.#error !== ''
  }

  /** @param fd 1 or 2 */
  write(fd: number, bytes: Buffer): void {
    const lines = ((fd === 1 ? this.#output : this.#error) + bytes.toString('latin1')).split('\n')
    let partial = lines.pop()!
    for (const line of lines) this.#log(fd, line)
    if (partial.length > MAX_PARTIAL_LINE) {
      this.#log(fd, partial)
      partial = ''
    }
    if (fd === 1) this.#output = partial
    else this.#error = partial
  }

  /** Logs what no newline has ended: called when a callback is over, since no one knows whether more will come. */
  flush(): void {
    const output = this.#output
    const error = this.#error
    this.#output = ''
    this.#error = ''
    this.#log(1, output)
    this.#log(2, error)
  }

  #log(fd: number, line: string): void {
    if (line === '') return
    writeLog(this.#instance, fd === 1 ? LogLevel.Info : LogLevel.Error, Buffer.from(line, 'latin1').toString())
  }
}
