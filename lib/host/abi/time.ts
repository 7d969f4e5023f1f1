import type { Instance } from '../instance.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

const NANOSECONDS_PER_MILLISECOND = 1_000_000

/** Nanoseconds since the epoch, with the sub-millisecond part that Date leaves out. */
export function wallClock(): bigint {
  const milliseconds = performance.timeOrigin + performance.now()
  const whole = Math.floor(milliseconds)
  return (
    BigInt(whole) * BigInt(NANOSECONDS_PER_MILLISECOND) +
    BigInt(Math.floor((milliseconds - whole) * NANOSECONDS_PER_MILLISECOND))
  )
}

/** "Clocks" of the specification. */
export function time(instance: Instance): HostFunctions {
  const { memory } = instance
  return {
    proxy_get_current_time_nanoseconds(returnTime: number): number {
      if (!memory.has(returnTime, 8)) return Status.InvalidMemoryAccess
      memory.setU64(returnTime, wallClock())
      return Status.Ok
    }
  }
}
