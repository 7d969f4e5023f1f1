/** Counts failures in a row, and says when the next attempt may be made. */
export class BackOff {
  readonly #delays: readonly number[]
  readonly #healthy: number
  #failures = 0
  #until = Number.NEGATIVE_INFINITY

  /**
   * @param delays milliseconds to wait after the first failure, the second in a row, …; the last one after all others
   * @param healthy what goes well for so many milliseconds ends the row
   */
  constructor(delays: readonly number[], healthy: number) {
    this.#delays = delays
    this.#healthy = healthy
  }

  /** Milliseconds until the next attempt may be made, 0: now. */
  get remaining(): number {
    return Math.max(0, this.#until - performance.now())
  }

  /**
   * Notes a failure.
   *
   * @param since when what has failed began, by `performance.now()`
   */
  fail(since: number): void {
    const now = performance.now()
    if (now - since > this.#healthy) this.#failures = 0
    const delay = this.#delays[Math.min(this.#failures, this.#delays.length - 1)]!
    this.#failures++
    this.#until = now + delay
  }
}

/** A plugin is started anew at once, and when that fails too after half a second, then less and less often. */
export const RESTART_DELAYS: readonly number[] = [0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000]
export const HEALTHY_MS = 60_000
