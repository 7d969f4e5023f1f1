import type { Instance } from '../instance.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** "Clocks" of the specification. */
export function time(instance: Instance): HostFunctions {
  const { memory, clock } = instance
  return {
    proxy_get_current_time_nanoseconds(returnTime: number): number {
      if (!memory.has(returnTime, 8)) return Status.InvalidMemoryAccess
      memory.setU64(returnTime, clock.wall())
      return Status.Ok
    }
  }
}
