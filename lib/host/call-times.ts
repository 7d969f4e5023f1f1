import { CALLBACKS } from './instance.ts'

/** Upper bounds in seconds: a callback takes microseconds, and now and then a second. */
export const CALL_TIME_BOUNDS: readonly number[] = [
  ...[1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4],
  ...[1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 1e-1, 2.5e-1, 5e-1, 1]
]

/** The same in milliseconds, as `performance.now` has them. */
const BOUNDS = Float64Array.from(CALL_TIME_BOUNDS, (seconds) => seconds * 1000)
/** One bucket more than there are bounds, for what is above them. */
const BUCKETS = BOUNDS.length + 1
const ROWS: ReadonlyMap<string, number> = new Map(CALLBACKS.map((name, i) => [name, i]))

/** How long the calls into a plugin took, by callback. This is the hot path: a call is one number more in an array. */
export class CallTimes {
  // Integers of 64 bits would be BigInts, and those of 32 bits are full in a few days.
  readonly #counts: Float64Array = new Float64Array(CALLBACKS.length * BUCKETS)
  readonly #sums: Float64Array = new Float64Array(CALLBACKS.length)

  /** @param milliseconds that a call took, with what others did for it meanwhile */
  add(callback: string, milliseconds: number): void {
    const row = ROWS.get(callback)!
    let bucket = 0
    while (bucket < BOUNDS.length && milliseconds > BOUNDS[bucket]!) bucket++
    this.#counts[row * BUCKETS + bucket]!++
    this.#sums[row]! += milliseconds
  }

  /** What was called at all: how many calls there were in each bucket, and seconds in all. */
  *entries(): Iterable<{ callback: string; counts: Float64Array; seconds: number }> {
    for (const [callback, row] of ROWS) {
      const counts = this.#counts.subarray(row * BUCKETS, (row + 1) * BUCKETS)
      if (counts.some((count) => count > 0)) yield { callback, counts, seconds: this.#sums[row]! / 1000 }
    }
  }
}
