import type { Instance } from '../instance.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** Configuration as ABI 0.1.0 reads it; later versions read buffers 6 and 7. */
export function configuration(instance: Instance): HostFunctions {
  const { memory } = instance
  return {
    proxy_get_configuration(returnData: number, returnSize: number): number {
      if (!memory.has(returnData, 4) || !memory.has(returnSize, 4)) return Status.InvalidMemoryAccess
      const { active } = instance
      if (active === undefined) return Status.InternalFailure
      const bytes = instance.startingVm ? instance.settings.vmConfiguration : active.root.configuration
      return memory.give(bytes, returnData, returnSize) ? Status.Ok : Status.InvalidMemoryAccess
    }
  }
}
