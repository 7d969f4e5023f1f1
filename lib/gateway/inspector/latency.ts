/** How long one point of the plot stands for, and how many there are: ten minutes. */
export const SLOT_MS = 10_000
export const SLOTS = 60

/** Four buckets for each doubling, from 1 µs to some 15 seconds. */
const PER_DOUBLING = 4
const BUCKETS = 24 * PER_DOUBLING

/** What was measured of a plugin in a slot. Microseconds */
export interface LatencyPoint {
  readonly count: number
  readonly median: number
  readonly p99: number
}

/** How long the callbacks of a plugin took in the last ten minutes. */
export class Latency {
  readonly #counts: Uint32Array = new Uint32Array(SLOTS * BUCKETS)
  /** Which time each slot is of: counted from the epoch. */
  readonly #times: Float64Array = new Float64Array(SLOTS)

  add(milliseconds: number, now: number): void {
    const time = Math.floor(now / SLOT_MS)
    const slot = time % SLOTS
    if (this.#times[slot] !== time) {
      this.#times[slot] = time
      this.#counts.fill(0, slot * BUCKETS, (slot + 1) * BUCKETS)
    }
    const bucket = Math.floor(Math.log2(Math.max(1, milliseconds * 1000)) * PER_DOUBLING)
    this.#counts[slot * BUCKETS + Math.min(BUCKETS - 1, bucket)]!++
  }

  /** From the oldest slot to the one that is under way; `undefined` where nothing was measured. */
  points(now: number): (LatencyPoint | undefined)[] {
    const last = Math.floor(now / SLOT_MS)
    return Array.from({ length: SLOTS }, (_, i) => this.#point(last - SLOTS + 1 + i))
  }

  /** Of all of the time. */
  total(now: number): LatencyPoint | undefined {
    const last = Math.floor(now / SLOT_MS)
    const all = new Float64Array(BUCKETS)
    for (let slot = 0; slot < SLOTS; slot++) {
      if (this.#times[slot]! <= last - SLOTS) continue
      for (let i = 0; i < BUCKETS; i++) all[i]! += this.#counts[slot * BUCKETS + i]!
    }
    return pointOf(all)
  }

  #point(time: number): LatencyPoint | undefined {
    const slot = time % SLOTS
    if (this.#times[slot] !== time) return undefined
    return pointOf(this.#counts.subarray(slot * BUCKETS, (slot + 1) * BUCKETS))
  }
}

function pointOf(counts: Uint32Array | Float64Array): LatencyPoint | undefined {
  let count = 0
  for (const each of counts) count += each
  if (count === 0) return undefined
  return { count, median: quantile(counts, count * 0.5), p99: quantile(counts, count * 0.99) }
}

/** The middle of the bucket that the call of a rank is in. */
function quantile(counts: Uint32Array | Float64Array, rank: number): number {
  let seen = 0
  let bucket = 0
  while (bucket < counts.length - 1) {
    seen += counts[bucket]!
    if (seen >= rank) break
    bucket++
  }
  return 2 ** ((bucket + 0.5) / PER_DOUBLING)
}
