import type { Instance } from '../instance.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** "Shared key-value store" of the specification. */
export function sharedData(instance: Instance): HostFunctions {
  const { memory, settings } = instance
  return {
    proxy_get_shared_data(
      keyData: number,
      keySize: number,
      returnData: number,
      returnSize: number,
      returnCas: number
    ): number {
      const key = memory.latin1(keyData, keySize)
      if (key === undefined || !memory.has(returnData, 4) || !memory.has(returnSize, 4) || !memory.has(returnCas, 4)) {
        return Status.InvalidMemoryAccess
      }
      const shared = settings.sharedData.get(settings.vmId, key)
      if (shared === undefined) return Status.NotFound
      if (!memory.give(shared.value, returnData, returnSize)) return Status.InvalidMemoryAccess
      memory.setU32(returnCas, shared.cas)
      return Status.Ok
    },

    proxy_set_shared_data(keyData: number, keySize: number, valueData: number, valueSize: number, cas: number): number {
      const key = memory.latin1(keyData, keySize)
      const value = memory.copy(valueData, valueSize)
      if (key === undefined || value === undefined) return Status.InvalidMemoryAccess
      return settings.sharedData.set(settings.vmId, key, value, cas >>> 0) ? Status.Ok : Status.CasMismatch
    }
  }
}
