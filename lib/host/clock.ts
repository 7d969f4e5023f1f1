/** Where the host takes the time from that filters see: what they read, and when their timers are due. */
export interface Clock {
  /** Nanoseconds since the epoch. */
  wall(): bigint
  /** Nanoseconds since some moment; it never goes back. */
  monotonic(): bigint
  /**
   * Calls back once, after some milliseconds.
   *
   * @param lasting whether the process must not end before
   * @returns what cancels it
   */
  after(milliseconds: number, callback: () => void, lasting: boolean): () => void
  /** Returns after some milliseconds, in which nothing else happens. */
  sleep(milliseconds: number): void
}

const NANOSECONDS_PER_MILLISECOND = 1_000_000

export const SYSTEM_CLOCK: Clock = {
  // With the sub-millisecond part that Date leaves out.
  wall() {
    const milliseconds = performance.timeOrigin + performance.now()
    const whole = Math.floor(milliseconds)
    return (
      BigInt(whole) * BigInt(NANOSECONDS_PER_MILLISECOND) +
      BigInt(Math.floor((milliseconds - whole) * NANOSECONDS_PER_MILLISECOND))
    )
  },
  monotonic: () => process.hrtime.bigint(),
  after(milliseconds, callback, lasting) {
    const timer = setTimeout(callback, milliseconds)
    if (!lasting) timer.unref()
    return () => clearTimeout(timer)
  },
  sleep(milliseconds) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
  }
}
