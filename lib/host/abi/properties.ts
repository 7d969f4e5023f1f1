import { serializePairs } from '../byte-pairs.ts'
import type { Instance } from '../instance.ts'
import { refusalOf } from '../refusals.ts'
import type { PropertyValue } from '../stream.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** Encodes a value as Envoy does. */
export function encodeProperty(value: PropertyValue): Uint8Array {
  switch (typeof value) {
    case 'string':
      return Buffer.from(value, 'latin1')
    case 'boolean':
      return Uint8Array.of(value ? 1 : 0)
    case 'number':
    case 'bigint': {
      const bytes = Buffer.alloc(8)
      bytes.writeBigInt64LE(BigInt.asIntN(64, BigInt(value)))
      return bytes
    }
    default:
      return 'pairs' in value ? serializePairs(value.pairs) : value
  }
}

/** "Properties" of the specification. */
export function properties(instance: Instance): HostFunctions {
  const { memory, settings } = instance
  const refusal = refusalOf(settings, '', 'properties')

  /** Segments joined by one NUL. C++'s SDK ends the last one with a NUL too. */
  function pathAt(data: number, size: number): string | undefined {
    const path = memory.latin1(data, size)
    return path?.endsWith('\0') ? path.slice(0, -1) : path
  }

  function lookUp(path: string): PropertyValue | undefined {
    switch (path) {
      case 'plugin_name':
        return Buffer.from(settings.name)
      case 'plugin_vm_id':
        return Buffer.from(settings.vmId)
      // Two SDKs choose their factory by it while their root context is created, and abort without an answer.
      case 'plugin_root_id':
        return Buffer.from(settings.rootId)
      default: {
        const context = instance.activeHttpContext
        if (context !== undefined) return context.stream.getProperty(path)
        return instance.active?.root.properties.get(path)
      }
    }
  }

  function keep(isKept: boolean | undefined): void {
    if (isKept === false) {
      refusal.refused(settings, 'it sets more properties than there may be, or larger ones: the last ones are dropped')
    } else refusal.worked()
  }

  return {
    proxy_get_property(pathData: number, pathSize: number, returnData: number, returnSize: number): number {
      const path = pathAt(pathData, pathSize)
      if (path === undefined || !memory.has(returnData, 4) || !memory.has(returnSize, 4)) {
        return Status.InvalidMemoryAccess
      }
      const value = lookUp(path)
      if (value === undefined) return Status.NotFound
      return memory.give(encodeProperty(value), returnData, returnSize) ? Status.Ok : Status.InvalidMemoryAccess
    },

    /**
     * Always Ok: any other answer would trap Rust's and AssemblyScript's SDK. A built-in of that name keeps its value, and
     * what there is no room for is dropped.
     */
    proxy_set_property(pathData: number, pathSize: number, valueData: number, valueSize: number): number {
      const path = pathAt(pathData, pathSize)
      const value = memory.view(valueData, valueSize)
      if (path === undefined || value === undefined) return Status.InvalidMemoryAccess
      const context = instance.activeHttpContext
      if (context === undefined) {
        keep(instance.active?.root.properties.set(path, value))
      } else if (path === 'wasm_process_req_body') {
        context.wantsRequestBody = value.length > 0
      } else if (path === 'wasm_process_resp_body') {
        context.wantsResponseBody = value.length > 0
      } else {
        keep(context.stream.setProperty(path, value))
      }
      return Status.Ok
    }
  }
}
