import type { Clock } from '../host/index.ts'

const NANOSECONDS_PER_MILLISECOND = 1_000_000

interface Timer {
  readonly due: bigint
  readonly callback: () => void
}

/** A clock that stands still until the test moves it on, or a filter sleeps. */
export class TestClock implements Clock {
  readonly #begin: bigint
  #now: bigint
  /** In the order in which they were set. */
  readonly #timers: Set<Timer> = new Set()

  /** @param now milliseconds since the epoch */
  constructor(now: number) {
    this.#now = nanoseconds(now)
    // Go's runtime takes 0 for a clock that does not work.
    this.#begin = this.#now - nanoseconds(1000)
  }

  wall(): bigint {
    return this.#now
  }

  monotonic(): bigint {
    return this.#now - this.#begin
  }

  after(milliseconds: number, callback: () => void): () => void {
    const timer = { due: this.#now + nanoseconds(milliseconds), callback }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  sleep(milliseconds: number): void {
    this.#now += nanoseconds(milliseconds)
  }

  /** Milliseconds until a moment that is told as `monotonic` tells it. */
  until(monotonic: bigint): number {
    return Number(monotonic - this.monotonic()) / NANOSECONDS_PER_MILLISECOND
  }

  /**
   * Moves on to the timer that is due next, and calls it.
   *
   * @param end as `wall` tells it: where there is none until then, the clock moves on to that
   * @returns whether there was one
   */
  step(end: bigint): boolean {
    let next: Timer | undefined
    for (const timer of this.#timers) {
      if (timer.due <= end && (next === undefined || timer.due < next.due)) next = timer
    }
    const to = next?.due ?? end
    // Time that a filter has slept is gone already.
    if (to > this.#now) this.#now = to
    if (next === undefined) return false
    this.#timers.delete(next)
    next.callback()
    return true
  }
}

export function nanoseconds(milliseconds: number): bigint {
  return BigInt(Math.round(milliseconds * NANOSECONDS_PER_MILLISECOND))
}
