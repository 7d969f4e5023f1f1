import { AsyncResource } from 'node:async_hooks'
import type { Clock } from './clock.ts'

/** Node's timers take no more: a longer period ticks after this one. */
const LONGEST_MS = 2 ** 31 - 1

/** Ticks are no part of the request in whose context the timer was set. */
const OUTSIDE = new AsyncResource('fastify-wasm-gateway.tick')

/**
 * The timer of a plugin context: a tick after every period, counted from the end of the tick before. So ticks
 * never overlap, and one that took long is not made up for.
 */
export class TickTimer {
  readonly #clock: Clock
  readonly #tick: () => void
  #period = 0
  #due = 0n
  #ticking = false
  #cancel: (() => void) | undefined

  /** @param tick must not throw */
  constructor(clock: Clock, tick: () => void) {
    this.#clock = clock
    this.#tick = tick
  }

  /** When the next tick is due, by the clock's `monotonic`; `undefined`: there is none. */
  get due(): bigint | undefined {
    return this.#period === 0 ? undefined : this.#due
  }

  /** @param period milliseconds, in place of the last one at once; 0: no more ticks */
  set(period: number): void {
    this.#period = Math.min(period, LONGEST_MS)
    this.#cancel?.()
    this.#cancel = undefined
    if (!this.#ticking) this.#arm()
  }

  #arm(): void {
    if (this.#period === 0) return
    const due = () => {
      this.#ticking = true
      this.#tick()
      this.#ticking = false
      this.#arm()
    }
    this.#due = this.#clock.monotonic() + BigInt(this.#period) * 1_000_000n
    // What a filter does by itself must not keep a process alive that has ended otherwise.
    this.#cancel = OUTSIDE.runInAsyncScope(() => this.#clock.after(this.#period, due, false))
  }
}
