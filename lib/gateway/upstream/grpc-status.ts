import { constants } from 'node:http2'

/** The status codes of gRPC that arise here; upstreams answer others too. */
export const GrpcStatus = {
  Cancelled: 1,
  Unknown: 2,
  DeadlineExceeded: 4,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  Unauthenticated: 16
} as const

const OF_HTTP: ReadonlyMap<number, number> = new Map([
  [400, GrpcStatus.Internal],
  [401, GrpcStatus.Unauthenticated],
  [403, GrpcStatus.PermissionDenied],
  [404, GrpcStatus.Unimplemented],
  [429, GrpcStatus.Unavailable],
  [502, GrpcStatus.Unavailable],
  [503, GrpcStatus.Unavailable],
  [504, GrpcStatus.Unavailable]
])

const OF_RESET: ReadonlyMap<number, number> = new Map([
  [constants.NGHTTP2_REFUSED_STREAM, GrpcStatus.Unavailable],
  [constants.NGHTTP2_CANCEL, GrpcStatus.Cancelled],
  [constants.NGHTTP2_ENHANCE_YOUR_CALM, GrpcStatus.ResourceExhausted],
  [constants.NGHTTP2_INADEQUATE_SECURITY, GrpcStatus.PermissionDenied]
])

/** What an HTTP status stands for that came without a gRPC status (gRPC's http-grpc-status-mapping.md). */
export function statusOfHttp(status: number): number {
  return OF_HTTP.get(status) ?? GrpcStatus.Unknown
}

/** What the code of an RST_STREAM stands for (gRPC's PROTOCOL-HTTP2.md, "Errors"). */
export function statusOfReset(code: number): number {
  return OF_RESET.get(code) ?? GrpcStatus.Internal
}

/** The status among name, value, …; `undefined` when there is none. */
export function statusIn(metadata: readonly string[]): number | undefined {
  const value = valueIn(metadata, 'grpc-status')
  if (value === undefined) return undefined
  return /^[0-9]{1,9}$/.test(value) ? Number(value) : GrpcStatus.Unknown
}

/** The message beside the status, which is escaped as URLs are. */
export function messageIn(metadata: readonly string[]): string {
  const value = valueIn(metadata, 'grpc-message') ?? ''
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}

function valueIn(metadata: readonly string[], name: string): string | undefined {
  for (let i = 0; i < metadata.length; i += 2) if (metadata[i] === name) return metadata[i + 1]
  return undefined
}
