import type { Instance } from '../instance.ts'
import { beginLong, LONG } from '../metering/clock.ts'
import type { Body } from '../stream.ts'
import { BufferType, Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

const LAST_BUFFER = BufferType.CallData

/** "Buffers" of the specification. Bodies may be changed in their callbacks, the other buffers are read-only. */
export function buffers(instance: Instance): HostFunctions {
  const { memory } = instance
  const limit = instance.limits.bodyBytes || Number.POSITIVE_INFINITY

  function bodyOf(type: number): Body | undefined {
    if (type === BufferType.HttpRequestBody) return instance.activeHttpContext?.requestBody
    if (type === BufferType.HttpResponseBody) return instance.activeHttpContext?.responseBody
    return undefined
  }

  function bytesOf(type: number): Buffer | undefined {
    switch (type) {
      case BufferType.HttpCallResponseBody:
        return instance.active?.root.callResponse?.body
      case BufferType.GrpcReceiveBuffer:
        return instance.active?.root.grpcReceived.message
      case BufferType.VmConfiguration:
        return instance.settings.vmConfiguration
      case BufferType.PluginConfiguration:
        return instance.active?.root.configuration
      case BufferType.CallData:
        return instance.active?.root.callData
      default:
        return bodyOf(type)?.bytes
    }
  }

  return {
    proxy_get_buffer_bytes(
      type: number,
      start: number,
      maxSize: number,
      returnData: number,
      returnSize: number
    ): number {
      if (type >>> 0 > LAST_BUFFER) return Status.BadArgument
      if (!memory.has(returnData, 4) || !memory.has(returnSize, 4)) return Status.InvalidMemoryAccess
      const bytes = bytesOf(type)
      if (bytes === undefined) return Status.NotFound
      // SDKs ask for "all there is" with the largest number that they have.
      const from = start >>> 0
      const slice = bytes.subarray(from, from + (maxSize >>> 0))
      return memory.give(slice, returnData, returnSize) ? Status.Ok : Status.InvalidMemoryAccess
    },

    proxy_get_buffer_status(type: number, returnSize: number, returnFlags: number): number {
      if (type >>> 0 > LAST_BUFFER) return Status.BadArgument
      if (!memory.has(returnSize, 4) || !memory.has(returnFlags, 4)) return Status.InvalidMemoryAccess
      const bytes = bytesOf(type)
      if (bytes === undefined) return Status.NotFound
      memory.setU32(returnSize, bytes.length)
      memory.setU32(returnFlags, 0)
      return Status.Ok
    },

    /** Ok also where the body would be too large, since SDKs trap at any other answer: the exchange then ends with an error. */
    proxy_set_buffer_bytes(type: number, start: number, size: number, data: number, dataSize: number): number {
      const inserted = memory.view(data, dataSize)
      if (inserted === undefined) return Status.InvalidMemoryAccess
      const body = bodyOf(type)
      if (body === undefined) return Status.BadArgument
      // Any splice, clamped to what there is: prepend (0, 0), append (start past the end), replace (0, all) among them.
      const { bytes } = body
      const from = Math.min(start >>> 0, bytes.length)
      const to = Math.min(from + (size >>> 0), bytes.length)
      body.changed = true
      // What came may be larger than what a filter may make.
      if (from + inserted.length + bytes.length - to > Math.max(limit, bytes.length)) {
        body.limit = limit
        return Status.Ok
      }
      if (bytes.length > LONG) beginLong()
      body.bytes = Buffer.concat([bytes.subarray(0, from), inserted, bytes.subarray(to)])
      return Status.Ok
    }
  }
}
