import type { Context } from './context.ts'
import { HttpContext } from './http-context.ts'
import { MAX_CALL_BYTES } from './limits.ts'

/** All calls of an instance at least: as many as Envoy lets be under way to one cluster by default. */
const MIN_TOTAL = 1024

/** How many calls of an instance are not answered yet, on whose behalf, and what they hold. */
export class CallCounts {
  readonly #ofExchange: number
  readonly #ofPluginContext: number
  readonly #ofAll: number
  readonly #counts: Map<Context, number> = new Map()
  #total = 0
  #bytes = 0

  /** @param limit for the calls of one exchange, 0: none for any. A limit for all must not be what an exchange meets first. */
  constructor(limit: number) {
    this.#ofExchange = limit || Number.POSITIVE_INFINITY
    this.#ofAll = Math.max(MIN_TOTAL, this.#ofExchange * 16)
    // What ticks and queues call leaves enough for the exchanges.
    this.#ofPluginContext = this.#ofAll / 4
  }

  /** @param bytes what the call would hold */
  hasRoom(context: Context, bytes: number): boolean {
    const limit = context instanceof HttpContext ? this.#ofExchange : this.#ofPluginContext
    return (
      (this.#counts.get(context) ?? 0) < limit && this.#total < this.#ofAll && this.#bytes + bytes <= MAX_CALL_BYTES
    )
  }

  add(context: Context, bytes: number): void {
    this.#counts.set(context, (this.#counts.get(context) ?? 0) + 1)
    this.#total++
    this.#bytes += bytes
  }

  /**
   * One of them holds more, or less.
   *
   * @param call its size, which is changed too
   * @returns whether there is room for it
   */
  grow(call: { size: number }, bytes: number): boolean {
    if (this.#bytes + bytes > MAX_CALL_BYTES) return false
    this.#bytes += bytes
    call.size += bytes
    return true
  }

  remove(context: Context, bytes: number): void {
    const left = this.#counts.get(context)! - 1
    if (left === 0) this.#counts.delete(context)
    else this.#counts.set(context, left)
    this.#total--
    this.#bytes -= bytes
  }

  /** What is counted, in all. */
  get usage(): { readonly contexts: number; readonly calls: number; readonly bytes: number } {
    return { contexts: this.#counts.size, calls: this.#total, bytes: this.#bytes }
  }
}
