import { parsePairs, serializedSize, serializePairs } from '../byte-pairs.ts'
import { HeaderList, type HeaderMap } from '../header-map.ts'
import type { Instance } from '../instance.ts'
import { MAX_HEADER_BYTES } from '../limits.ts'
import { MapType, Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** What a pair takes besides its bytes. */
const PAIR_BYTES = 64

const LAST_MAP = MapType.HttpCallResponseTrailers

/** "HTTP fields" of the specification. Maps that are not there now read as empty, and refuse to be written. */
export function headerMaps(instance: Instance): HostFunctions {
  const { memory } = instance

  function mapOf(type: number): HeaderMap | undefined {
    if (type === MapType.HttpRequestHeaders) return instance.active?.stream?.requestHeaders
    if (type === MapType.HttpResponseHeaders) return instance.active?.stream?.responseHeaders
    return seldomMapOf(type)
  }

  function seldomMapOf(type: number): HeaderMap | undefined {
    switch (type) {
      case MapType.HttpRequestTrailers:
        return instance.active?.stream?.requestTrailers
      case MapType.HttpResponseTrailers:
        return instance.active?.stream?.responseTrailers
      case MapType.GrpcReceiveInitialMetadata:
        return metadata(instance.active?.root.grpcReceived.initialMetadata)
      case MapType.GrpcReceiveTrailingMetadata:
        return metadata(instance.active?.root.grpcReceived.trailingMetadata)
      case MapType.HttpCallResponseHeaders:
      case MapType.HttpCallResponseTrailers: {
        // They live on the plugin context, whatever stream is the effective one.
        const response = instance.active?.root.callResponse
        if (response === undefined) return undefined
        return type === MapType.HttpCallResponseHeaders
          ? new HeaderList(response.headers, [], false)
          : new HeaderList(response.trailers, [], false)
      }
      default:
        return undefined
    }
  }

  /** Counts what a context writes one by one: of a whole map `parsePairs` has a limit. */
  function hasRoom(key: string, value: string): boolean {
    const context = instance.activeHttpContext
    if (context === undefined) return true
    context.headerBytes += key.length + value.length + PAIR_BYTES
    return context.headerBytes <= MAX_HEADER_BYTES
  }

  function readable(type: number): HeaderMap | undefined {
    const map = mapOf(type)
    return map?.readable ? map : undefined
  }

  return {
    proxy_get_header_map_size(type: number, returnSize: number): number {
      if (type >>> 0 > LAST_MAP) return Status.BadArgument
      if (!memory.has(returnSize, 4)) return Status.InvalidMemoryAccess
      const entries = readable(type)?.entries()
      memory.setU32(returnSize, entries === undefined || entries.length === 0 ? 0 : serializedSize(entries))
      return Status.Ok
    },

    proxy_get_header_map_pairs(type: number, returnData: number, returnSize: number): number {
      if (type >>> 0 > LAST_MAP) return Status.BadArgument
      if (!memory.has(returnData, 4) || !memory.has(returnSize, 4)) return Status.InvalidMemoryAccess
      const entries = readable(type)?.entries()
      // An empty map is 0/0: a count of zero would be read beyond its end by some SDKs.
      const bytes = entries === undefined || entries.length === 0 ? Buffer.alloc(0) : serializePairs(entries)
      return memory.give(bytes, returnData, returnSize) ? Status.Ok : Status.InvalidMemoryAccess
    },

    proxy_set_header_map_pairs(type: number, pairsData: number, pairsSize: number): number {
      if (type >>> 0 > LAST_MAP) return Status.BadArgument
      const bytes = memory.view(pairsData, pairsSize)
      if (bytes === undefined) return Status.InvalidMemoryAccess
      const pairs = parsePairs(bytes)
      if (pairs === undefined) return Status.BadArgument
      return mapOf(type)?.assign(pairs) ? Status.Ok : Status.BadArgument
    },

    proxy_get_header_map_value(
      type: number,
      keyData: number,
      keySize: number,
      returnData: number,
      returnSize: number
    ): number {
      if (type >>> 0 > LAST_MAP) return Status.BadArgument
      const key = memory.name(keyData, keySize)
      if (key === undefined || !memory.has(returnData, 4) || !memory.has(returnSize, 4)) {
        return Status.InvalidMemoryAccess
      }
      const value = readable(type)?.get(key)
      // Modules of ABI 0.1.0 know no NotFound here.
      if (value === undefined && instance.module.abiVersion !== '0.1.0') return Status.NotFound
      return memory.giveLatin1(value ?? '', returnData, returnSize) ? Status.Ok : Status.InvalidMemoryAccess
    },

    proxy_add_header_map_value(
      type: number,
      keyData: number,
      keySize: number,
      valueData: number,
      valueSize: number
    ): number {
      if (type >>> 0 > LAST_MAP) return Status.BadArgument
      const key = memory.name(keyData, keySize)
      const value = memory.latin1(valueData, valueSize)
      if (key === undefined || value === undefined) return Status.InvalidMemoryAccess
      return hasRoom(key, value) && mapOf(type)?.add(key, value) ? Status.Ok : Status.BadArgument
    },

    proxy_replace_header_map_value(
      type: number,
      keyData: number,
      keySize: number,
      valueData: number,
      valueSize: number
    ): number {
      if (type >>> 0 > LAST_MAP) return Status.BadArgument
      const key = memory.name(keyData, keySize)
      const value = memory.latin1(valueData, valueSize)
      if (key === undefined || value === undefined) return Status.InvalidMemoryAccess
      return hasRoom(key, value) && mapOf(type)?.replace(key, value) ? Status.Ok : Status.BadArgument
    },

    proxy_remove_header_map_value(type: number, keyData: number, keySize: number): number {
      if (type >>> 0 > LAST_MAP) return Status.BadArgument
      const key = memory.name(keyData, keySize)
      if (key === undefined) return Status.InvalidMemoryAccess
      return mapOf(type)?.remove(key) ? Status.Ok : Status.BadArgument
    }
  }
}

/** Read-only, and there in its callback alone. */
function metadata(list: readonly string[] | undefined): HeaderMap | undefined {
  return list && new HeaderList([...list], [], false)
}
