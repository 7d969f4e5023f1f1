/** Node's timers take no more: a longer period ticks after this one. */
const LONGEST_MS = 2 ** 31 - 1

/**
 * The timer of a plugin context: a tick after every period, counted from the end of the tick before. So ticks
 * never overlap, and one that took long is not made up for.
 */
export class TickTimer {
  readonly #tick: () => void
  #period = 0
  #ticking = false
  #timer: ReturnType<typeof setTimeout> | undefined

  /** @param tick must not throw */
  constructor(tick: () => void) {
    this.#tick = tick
  }

  /** @param period milliseconds, in place of the last one at once; 0: no more ticks */
  set(period: number): void {
    this.#period = Math.min(period, LONGEST_MS)
    clearTimeout(this.#timer)
    if (!this.#ticking) this.#arm()
  }

  #arm(): void {
    if (this.#period === 0) return
    this.#timer = setTimeout(() => {
      this.#ticking = true
      this.#tick()
      this.#ticking = false
      this.#arm()
    }, this.#period)
    // What a filter does by itself must not keep a process alive that has ended otherwise.
    this.#timer.unref()
  }
}
