import type { Instance } from '../instance.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** "Timers" of the specification. */
export function timers(instance: Instance): HostFunctions {
  return {
    /** The timer is the plugin context's, also when one of its streams sets it. 0 ends it. */
    proxy_set_tick_period_milliseconds(period: number): number {
      const root = instance.active?.root
      // A module that catches what ended it may still call: nobody would end that timer.
      if (root === undefined || instance.failure !== undefined) return Status.InternalFailure
      root.setTickPeriod(period >>> 0)
      return Status.Ok
    }
  }
}
