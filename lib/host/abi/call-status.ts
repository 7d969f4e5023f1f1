import type { Instance } from '../instance.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** How the call ended whose callback is running: the state is the plugin context's, whatever stream is effective. */
export function callStatus(instance: Instance): HostFunctions {
  const { memory } = instance
  return {
    /** 0 and no message where no call has failed: Rust's SDK would panic at any status but Ok. */
    proxy_get_status(returnCode: number, returnData: number, returnSize: number): number {
      if (!memory.has(returnCode, 4) || !memory.has(returnData, 4) || !memory.has(returnSize, 4)) {
        return Status.InvalidMemoryAccess
      }
      const { active } = instance
      if (active === undefined) return Status.InternalFailure
      const { code, message } = active.root.callStatus
      if (!memory.give(Buffer.from(message), returnData, returnSize)) return Status.InvalidMemoryAccess
      memory.setU32(returnCode, code)
      return Status.Ok
    }
  }
}
