import { parsePairs } from '../byte-pairs.ts'
import { isHeader } from '../header-map.ts'
import type { Instance } from '../instance.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** What is none of a request's pseudo-headers, `:status` above all, is refused. */
const PSEUDO_HEADERS: readonly string[] = [':method', ':path', ':authority', ':scheme']
const REQUIRED = [':method', ':path', ':authority']

/**
 * The headers of a call, pseudo-headers first; `host` serves for `:authority`. As APISIX's filters expect it `:method`
 * defaults to GET and `:path` to `/`, and without an authority the client sends the upstream's own; Envoy requires them.
 *
 * @returns `undefined` when one is missing, or a name or value is none that HTTP allows
 */
function callHeaders(pairs: readonly string[], semantics: 'apisix' | 'envoy'): string[] | undefined {
  const pseudo: Record<string, string> = {}
  const headers: string[] = []
  let host: string | undefined
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i]!.toLowerCase()
    const value = pairs[i + 1]!
    if (!isHeader(name, value)) return undefined
    if (PSEUDO_HEADERS.includes(name)) pseudo[name] = value
    else if (name.charCodeAt(0) === 58 /* : */) return undefined
    else if (name === 'host') host = value
    else headers.push(name, value)
  }
  if (host !== undefined) pseudo[':authority'] ??= host
  if (semantics === 'apisix') {
    pseudo[':method'] ??= 'GET'
    pseudo[':path'] ??= '/'
    pseudo[':authority'] ??= ''
  }
  for (const name of REQUIRED) if (pseudo[name] === undefined) return undefined
  return [...PSEUDO_HEADERS.flatMap((name) => (pseudo[name] === undefined ? [] : [name, pseudo[name]])), ...headers]
}

/** The trailers of a call; `undefined` when a name or value is none that HTTP allows. */
function callTrailers(pairs: readonly string[]): string[] | undefined {
  const trailers: string[] = []
  for (let i = 0; i < pairs.length; i += 2) {
    const name = pairs[i]!.toLowerCase()
    if (name.charCodeAt(0) === 58 /* : */ || !isHeader(name, pairs[i + 1]!)) return undefined
    trailers.push(name, pairs[i + 1]!)
  }
  return trailers
}

/**
 * "HTTP calls" of the specification. The answer comes by `proxy_on_http_call_response`, never before this returns. A call that
 * cannot be sent as it is is BadArgument, one too many is InternalFailure: Rust's SDK panics at any other status.
 */
export function httpCalls(instance: Instance): HostFunctions {
  const { memory } = instance
  return {
    proxy_http_call(
      upstreamData: number,
      upstreamSize: number,
      headersData: number,
      headersSize: number,
      bodyData: number,
      bodySize: number,
      trailersData: number,
      trailersSize: number,
      timeout: number,
      returnCallId: number
    ): number {
      const upstream = memory.utf8(upstreamData, upstreamSize)
      const headerBytes = memory.view(headersData, headersSize)
      const body = memory.view(bodyData, bodySize)
      const trailerBytes = memory.view(trailersData, trailersSize)
      if (
        upstream === undefined ||
        headerBytes === undefined ||
        body === undefined ||
        trailerBytes === undefined ||
        !memory.has(returnCallId, 4)
      ) {
        return Status.InvalidMemoryAccess
      }
      const pairs = parsePairs(headerBytes)
      const trailerPairs = parsePairs(trailerBytes)
      const headers = pairs && callHeaders(pairs, instance.settings.semantics)
      const trailers = trailerPairs && callTrailers(trailerPairs)
      // A timeout of 2^31 ms and more is a negative number here.
      if (headers === undefined || trailers === undefined || timeout < 0) return Status.BadArgument
      const { active, calls } = instance
      // A module that catches what ended it may still call: nobody would end that call.
      if (active === undefined || instance.failure !== undefined) return Status.InternalFailure
      const size = upstream.length + headerBytes.length + body.length + trailerBytes.length
      if (!calls.admits(active, size)) return Status.InternalFailure
      const id = calls.dispatch(active, { upstream, headers, body: Buffer.from(body), trailers, timeout }, size)
      if (id === undefined) return Status.BadArgument
      memory.setU32(returnCallId, id)
      return Status.Ok
    }
  }
}
