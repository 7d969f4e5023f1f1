import { parsePairs } from '../byte-pairs.ts'
import { isHeader } from '../header-map.ts'
import type { Instance } from '../instance.ts'
import { lineOf } from '../log-line.ts'
import { mayLog } from '../log-rate.ts'
import { Status, StreamType } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

const NOTHING = Buffer.alloc(0)

/** "HTTP streams" of the specification: resuming, closing, and answering in place of the upstream. */
export function streamControl(instance: Instance): HostFunctions {
  const { memory, settings } = instance
  const limit = instance.limits.bodyBytes || Number.POSITIVE_INFINITY

  function resume(type: number): number {
    instance.activeHttpContext?.resume(type)
    return Status.Ok
  }

  function warn(message: string): number {
    if (mayLog(settings)) instance.log.warn({ plugin: settings.name, context: instance.active?.id }, message)
    return Status.Ok
  }

  return {
    proxy_continue_stream(type: number): number {
      // An HTTP filter may name the TCP stream below it; Rust's SDK would trap on any answer but Ok.
      return type >>> 0 > StreamType.Upstream ? Status.BadArgument : resume(type)
    },

    proxy_close_stream(type: number): number {
      if (type >>> 0 > StreamType.Upstream) return Status.BadArgument
      const context = instance.activeHttpContext
      if (context !== undefined && !context.ended) context.stream.reset()
      return Status.Ok
    },

    // ABI 0.1.0
    proxy_continue_request: () => resume(StreamType.HttpRequest),
    proxy_continue_response: () => resume(StreamType.HttpResponse),
    proxy_clear_route_cache: () => Status.Ok,

    proxy_send_local_response(
      status: number,
      detailsData: number,
      detailsSize: number,
      bodyData: number,
      bodySize: number,
      headersData: number,
      headersSize: number,
      grpcStatus: number
    ): number {
      const details = memory.view(detailsData, detailsSize)
      const body = memory.view(bodyData, bodySize)
      const serialized = memory.view(headersData, headersSize)
      if (details === undefined || body === undefined || serialized === undefined) return Status.InvalidMemoryAccess
      const pairs = parsePairs(serialized)
      if (pairs === undefined) return Status.BadArgument
      const headers: string[] = []
      for (let i = 0; i < pairs.length; i += 2) {
        const name = pairs[i]!.toLowerCase()
        if (name.charCodeAt(0) === 58 /* : */) continue
        if (!isHeader(name, pairs[i + 1]!)) return Status.BadArgument
        headers.push(name, pairs[i + 1]!)
      }
      const context = instance.activeHttpContext
      // Any status but Ok would trap Rust's SDK.
      if (context === undefined) return warn('proxy_send_local_response outside of any stream has no effect')
      if (context.ended) return warn('proxy_send_local_response has no effect: the stream is at its end')
      const response = { status, headers, body: NOTHING, details: lineOf(details), grpcStatus }
      if (status < 200 || status > 599) {
        warn(`proxy_send_local_response: ${status} is no status of a response, 500 is sent`)
        response.status = 500
      }
      if (body.length > limit) {
        warn(`proxy_send_local_response: its body of ${body.length} bytes is longer than limits.body_mib, 502 is sent`)
        Object.assign(response, { status: 502, headers: [] })
      } else response.body = Buffer.from(body)
      const { stream } = context
      const before = stream.interrupted
      stream.sendLocalResponse(response)
      if (!before && stream.interrupted) settings.counts?.responded(response.status)
      return Status.Ok
    }
  }
}
