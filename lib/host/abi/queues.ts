import type { Instance } from '../instance.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** "Shared queues" of the specification. */
export function queues(instance: Instance): HostFunctions {
  const { memory, settings } = instance
  return {
    /** The plugin context is told of what comes, by `proxy_on_queue_ready`. */
    proxy_register_shared_queue(nameData: number, nameSize: number, returnId: number): number {
      const name = memory.latin1(nameData, nameSize)
      if (name === undefined || !memory.has(returnId, 4)) return Status.InvalidMemoryAccess
      const root = instance.active?.root
      // A module that catches what ended it may still call: nobody would end that registration.
      if (root === undefined || instance.failure !== undefined) return Status.InternalFailure
      memory.setU32(returnId, root.registerQueue(name))
      return Status.Ok
    },

    proxy_resolve_shared_queue(
      vmIdData: number,
      vmIdSize: number,
      nameData: number,
      nameSize: number,
      returnId: number
    ): number {
      const vmId = memory.utf8(vmIdData, vmIdSize)
      const name = memory.latin1(nameData, nameSize)
      if (vmId === undefined || name === undefined || !memory.has(returnId, 4)) return Status.InvalidMemoryAccess
      const id = settings.queues.resolve(vmId === '' ? settings.vmId : vmId, name)
      if (id === undefined) return Status.NotFound
      memory.setU32(returnId, id)
      return Status.Ok
    },

    proxy_enqueue_shared_queue(id: number, itemData: number, itemSize: number): number {
      const item = memory.copy(itemData, itemSize)
      if (item === undefined) return Status.InvalidMemoryAccess
      return settings.queues.enqueue(id >>> 0, item) ? Status.Ok : Status.NotFound
    },

    proxy_dequeue_shared_queue(id: number, returnData: number, returnSize: number): number {
      if (!memory.has(returnData, 4) || !memory.has(returnSize, 4)) return Status.InvalidMemoryAccess
      const item = settings.queues.dequeue(id >>> 0)
      if (item === undefined) return Status.NotFound
      if (item === null) return Status.Empty
      return memory.give(item, returnData, returnSize) ? Status.Ok : Status.InvalidMemoryAccess
    }
  }
}
