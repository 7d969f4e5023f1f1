import type { OutgoingHttpHeaders } from 'node:http2'
import type { GrpcCall } from '../../host/index.ts'
import { withoutHopByHop } from '../hop-by-hop.ts'

/** What the host says itself, whatever the filter says. */
const OWN: ReadonlySet<string> = new Set(['content-type', 'content-length', 'host', 'te'])

/** The most digits that `grpc-timeout` may have. */
const MAX_TIMEOUT_VALUE = 99_999_999

/** The request headers of an exchange. */
export function grpcHeaders(call: GrpcCall, scheme: string, authority: string): OutgoingHttpHeaders {
  // No prototype: `__proto__` is a name that HTTP allows.
  const headers: Record<string, string | string[]> = Object.create(null)
  headers[':method'] = 'POST'
  headers[':scheme'] = scheme
  headers[':authority'] = authority
  headers[':path'] = `/${call.service}/${call.method}`
  headers.te = 'trailers'
  headers['content-type'] = 'application/grpc'
  const metadata = withoutHopByHop(call.metadata)
  for (let i = 0; i < metadata.length; i += 2) {
    const name = metadata[i]!
    if (OWN.has(name)) continue
    const present = headers[name]
    const value = metadata[i + 1]!
    headers[name] = present === undefined ? value : [present, value].flat()
  }
  if (call.timeout > 0) headers['grpc-timeout'] = timeoutValue(call.timeout)
  return headers
}

function timeoutValue(milliseconds: number): string {
  return milliseconds > MAX_TIMEOUT_VALUE ? `${Math.ceil(milliseconds / 1000)}S` : `${milliseconds}m`
}

/** Copies what Node has received of headers or trailers, name, value, …, without pseudo-headers. */
export function metadataOf(raw: readonly string[]): string[] {
  const metadata: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i]!.charCodeAt(0) !== 58 /* : */) metadata.push(raw[i]!, raw[i + 1]!)
  }
  return metadata
}
