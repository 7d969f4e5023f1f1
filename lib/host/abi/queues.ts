import type { Instance } from '../instance.ts'
import { MAX_NAME } from '../limits.ts'
import { refusalOf } from '../refusals.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** "Shared queues" of the specification. */
export function queues(instance: Instance): HostFunctions {
  const { memory, settings } = instance
  const queueRefusal = refusalOf(settings.queues, settings.vmId, 'queues')
  const itemRefusal = refusalOf(settings.queues, settings.vmId, 'items')
  return {
    /**
     * The plugin context is told of what comes, by `proxy_on_queue_ready`. Any status but Ok would trap Rust's SDK, and
     * mostly in the start of a plugin: when there is no room for the queue, it has the id 0, which is NotFound to the others.
     */
    proxy_register_shared_queue(nameData: number, nameSize: number, returnId: number): number {
      const name = memory.view(nameData, nameSize)
      if (name === undefined || !memory.has(returnId, 4)) return Status.InvalidMemoryAccess
      const root = instance.active?.root
      // A module that catches what ended it may still call: nobody would end that registration.
      if (root === undefined || instance.failure !== undefined) return Status.InternalFailure
      const id = name.length > MAX_NAME ? 0 : root.registerQueue(name.toString('latin1'))
      if (id !== 0) queueRefusal.worked()
      else queueRefusal.refused(settings, `there is no room for another queue of vm_id [${settings.vmId}]`)
      memory.setU32(returnId, id)
      return Status.Ok
    },

    proxy_resolve_shared_queue(
      vmIdData: number,
      vmIdSize: number,
      nameData: number,
      nameSize: number,
      returnId: number
    ): number {
      const vmId = memory.view(vmIdData, vmIdSize)
      const name = memory.view(nameData, nameSize)
      if (vmId === undefined || name === undefined || !memory.has(returnId, 4)) return Status.InvalidMemoryAccess
      if (vmId.length > MAX_NAME || name.length > MAX_NAME) return Status.NotFound
      const scope = vmId.length === 0 ? settings.vmId : vmId.toString()
      const id = settings.queues.resolve(scope, name.toString('latin1'))
      if (id === undefined) return Status.NotFound
      memory.setU32(returnId, id)
      return Status.Ok
    },

    /**
     * NotFound also when there is no room, or the queues cannot be asked: the one status besides Ok that does not trap Rust's
     * SDK. When nobody knows whether it is there, it must not be taken for that.
     */
    proxy_enqueue_shared_queue(id: number, itemData: number, itemSize: number): number {
      const item = memory.view(itemData, itemSize)
      if (item === undefined) return Status.InvalidMemoryAccess
      const taken = settings.queues.enqueue(id >>> 0, item)
      if (taken === 'unknown') return Status.InternalFailure
      if (taken === 'unavailable') return Status.NotFound
      if (taken) itemRefusal.worked()
      else if (taken === undefined) {
        itemRefusal.refused(settings, `there is no room for another item in queue ${id >>> 0}: it is refused`)
      }
      return taken ? Status.Ok : Status.NotFound
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
