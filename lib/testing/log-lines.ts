import type { Logger } from '../host/index.ts'

/** A line that a filter has logged, or the host about it. */
export interface LogLine {
  /** The filter's name */
  readonly filter: string
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'critical'
  readonly message: string
  /** What a line of the host is about */
  readonly error?: Error
}

interface Fields {
  readonly plugin?: string
  readonly err?: Error
}

/** Keeps the lines of filters, in every list that it is given. */
export class LineLog implements Logger {
  readonly level: string = 'trace'
  readonly #lists: readonly LogLine[][]

  constructor(...lists: LogLine[][]) {
    this.#lists = lists
  }

  trace(fields: object, message: string): void {
    this.#add('trace', fields, message)
  }

  debug(fields: object, message: string): void {
    this.#add('debug', fields, message)
  }

  info(fields: object, message: string): void {
    this.#add('info', fields, message)
  }

  warn(fields: object, message: string): void {
    this.#add('warn', fields, message)
  }

  error(fields: object, message: string): void {
    this.#add('error', fields, message)
  }

  /** pino's name for the highest of the ABI's levels. */
  fatal(fields: object, message: string): void {
    this.#add('critical', fields, message)
  }

  #add(level: LogLine['level'], { plugin = '', err }: Fields, message: string): void {
    const line = { filter: plugin, level, message, ...(err !== undefined && { error: err }) }
    for (const list of this.#lists) list.push(line)
  }
}

/** So many lines tell what led to an error. */
const MAX_LINES = 10
/** What Go's runtime says first: dozens of lines of its stack come after it. */
const PANIC = /^(?:panic|fatal error): /

/** Those that say so already. */
const told: WeakSet<Error> = new WeakSet()

/**
 * An error with what the filter has logged before it in its message: panics of most languages are there alone.
 *
 * @param lines what was logged meanwhile, by all
 */
export function withLines(failure: Error, lines: readonly LogLine[], filter: string): Error {
  if (told.has(failure)) return failure
  told.add(failure)
  const own = lines.filter((line) => line.filter === filter && line.error === undefined)
  if (own.length === 0) return failure
  const panic = own.findLastIndex(({ message }) => PANIC.test(message))
  const from = Math.max(0, own.length - MAX_LINES)
  const begin = panic === -1 ? from : Math.min(from, panic)
  const shown = own
    .slice(begin, begin + MAX_LINES)
    .map(({ level, message }) => `\n  [${level}] ${message}`)
    .join('')
  failure.message += `\nthe filter has logged:${shown}`
  return failure
}
