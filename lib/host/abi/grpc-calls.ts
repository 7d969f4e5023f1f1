import { parsePairs } from '../byte-pairs.ts'
import { isHeader } from '../header-map.ts'
import type { Instance } from '../instance.ts'
import type { GrpcCall } from '../stream.ts'
import { Status } from './constants.ts'
import { grpcUpstream } from './grpc-service.ts'
import type { HostFunctions } from './host-functions.ts'

/** What Node's timers can wait at most. */
const MAX_TIMEOUT = 0x7fffffff

type Range = readonly [pointer: number, size: number]

/** What is at the ranges of a call: a status when it cannot be sent as it is. */
type Parsed =
  | (Omit<GrpcCall, 'timeout'> & { readonly metadata: string[] })
  | typeof Status.InvalidMemoryAccess
  | typeof Status.ParseFailure

/**
 * "gRPC calls" of the specification. Answers come by the `proxy_on_grpc_…` callbacks, never before these return.
 *
 * Rust's SDK panics at other statuses than it knows for a function: so all that keeps a call from being sent is
 * ParseFailure or InternalFailure (one too many, for one), and what is wrong with an id is NotFound or BadArgument.
 */
export function grpcCalls(instance: Instance): HostFunctions {
  const { memory } = instance

  function parse(upstream: Range, service: Range, method: Range, metadata: Range): Parsed {
    const upstreamBytes = memory.view(...upstream)
    const serviceName = memory.latin1(...service)
    const methodName = memory.latin1(...method)
    const metadataBytes = memory.view(...metadata)
    if (
      upstreamBytes === undefined ||
      serviceName === undefined ||
      methodName === undefined ||
      metadataBytes === undefined
    ) {
      return Status.InvalidMemoryAccess
    }
    const pairs = parsePairs(metadataBytes)
    const list = pairs && grpcMetadata(pairs)
    if (list === undefined || !isHeader(':path', `/${serviceName}/${methodName}`)) return Status.ParseFailure
    return { upstream: grpcUpstream(upstreamBytes), service: serviceName, method: methodName, metadata: list }
  }

  function call(parsed: Parsed, message: Range, timeout: number, returnId: number): number {
    const bytes = memory.view(...message)
    if (bytes === undefined || !memory.has(returnId, 4)) return Status.InvalidMemoryAccess
    if (typeof parsed === 'number') return parsed
    const { active } = instance
    // A module that catches what ended it may still call: nobody would end that call.
    if (active === undefined || instance.failure !== undefined) return Status.InternalFailure
    const size = sizeOf(parsed) + bytes.length
    if (!instance.calls.admits(active, size)) return Status.InternalFailure
    const limited = Math.min(timeout >>> 0, MAX_TIMEOUT)
    const id = instance.calls.grpc.call(active, { ...parsed, timeout: limited }, Buffer.from(bytes), size)
    if (id === undefined) return Status.ParseFailure
    memory.setU32(returnId, id)
    return Status.Ok
  }

  function open(parsed: Parsed, returnId: number): number {
    if (!memory.has(returnId, 4)) return Status.InvalidMemoryAccess
    if (typeof parsed === 'number') return parsed
    const { active } = instance
    if (active === undefined || instance.failure !== undefined) return Status.InternalFailure
    const size = sizeOf(parsed)
    if (!instance.calls.admits(active, size)) return Status.InternalFailure
    const id = instance.calls.grpc.open(active, { ...parsed, timeout: 0 }, size)
    if (id === undefined) return Status.ParseFailure
    memory.setU32(returnId, id)
    return Status.Ok
  }

  /** Why an id is no gRPC call's or stream's. */
  function unknown(id: number): number {
    return instance.calls.has(id >>> 0) ? Status.BadArgument : Status.NotFound
  }

  return {
    proxy_grpc_call(
      upstreamData: number,
      upstreamSize: number,
      serviceData: number,
      serviceSize: number,
      methodData: number,
      methodSize: number,
      g: number,
      h: number,
      i: number,
      j: number,
      timeout: number | undefined,
      returnCallId: number
    ): number {
      const upstream: Range = [upstreamData, upstreamSize]
      const service: Range = [serviceData, serviceSize]
      const method: Range = [methodData, methodSize]
      // AssemblyScript's SDK declares the function without the two parameters of the initial metadata.
      return timeout === undefined
        ? call(parse(upstream, service, method, [0, 0]), [g, h], i, j)
        : call(parse(upstream, service, method, [g, h]), [i, j], timeout, returnCallId)
    },

    proxy_grpc_stream(
      upstreamData: number,
      upstreamSize: number,
      serviceData: number,
      serviceSize: number,
      methodData: number,
      methodSize: number,
      g: number,
      metadataSize: number | undefined,
      returnStreamId: number
    ): number {
      const upstream: Range = [upstreamData, upstreamSize]
      const service: Range = [serviceData, serviceSize]
      const method: Range = [methodData, methodSize]
      // Here too: what comes seventh is where AssemblyScript wants the id.
      return metadataSize === undefined
        ? open(parse(upstream, service, method, [0, 0]), g)
        : open(parse(upstream, service, method, [g, metadataSize]), returnStreamId)
    },

    proxy_grpc_send(streamId: number, messageData: number, messageSize: number, endStream: number): number {
      const message = memory.copy(messageData, messageSize)
      if (message === undefined) return Status.InvalidMemoryAccess
      const { grpc } = instance.calls
      if (!grpc.has(streamId >>> 0)) return unknown(streamId)
      return grpc.send(streamId >>> 0, message, endStream !== 0) ? Status.Ok : Status.BadArgument
    },

    proxy_grpc_cancel: (id: number) => (instance.calls.grpc.cancel(id >>> 0) ? Status.Ok : unknown(id)),

    proxy_grpc_close: (id: number) => (instance.calls.grpc.halfClose(id >>> 0) ? Status.Ok : unknown(id))
  }
}

/** What a call holds besides its message. */
function sizeOf({ upstream, service, method, metadata }: Omit<GrpcCall, 'timeout'>): number {
  return metadata.reduce((sum, text) => sum + text.length, upstream.length + service.length + method.length)
}

/** Metadata in lower case; `undefined` when a name or value is none that HTTP allows, or a pseudo-header. */
function grpcMetadata(pairs: readonly string[]): string[] | undefined {
  const metadata: string[] = []
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i]!.toLowerCase()
    if (name.charCodeAt(0) === 58 /* : */ || !isHeader(name, pairs[i + 1]!)) return undefined
    metadata.push(name, pairs[i + 1]!)
  }
  return metadata
}
