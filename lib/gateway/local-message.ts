import type { LocalResponse } from '../host/index.ts'
import { isHopByHop } from './hop-by-hop.ts'

/** What a local response is sent as. */
export interface LocalMessage {
  readonly status: number
  /** By name in lower case; their length is not among them */
  readonly headers: ReadonlyMap<string, readonly string[]>
  readonly body: Buffer
}

/** @param requestType the request's content-type: gRPC has another form */
export function messageOf(response: LocalResponse, requestType: string = ''): LocalMessage {
  const isGrpc = response.grpcStatus >= 0 && response.grpcStatus <= 16 && GRPC.test(requestType)
  const values = new Map<string, string[]>()
  const { headers, body } = response
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    if (isHopByHop(name) || name === 'content-length') continue
    const others = values.get(name)
    if (others === undefined) values.set(name, [headers[i + 1]!])
    else others.push(headers[i + 1]!)
  }
  if (isGrpc) {
    values.set('content-type', ['application/grpc'])
    values.set('grpc-status', [String(response.grpcStatus)])
    if (body.length > 0) values.set('grpc-message', [percentEncode(body)])
    return { status: 200, headers: values, body: Buffer.alloc(0) }
  }
  if (body.length > 0 && !values.has('content-type')) values.set('content-type', ['text/plain'])
  return { status: response.status, headers: values, body }
}

/** An error as the client sees it: its status, and `{ "error_msg": … }`. */
export function errorResponse(error: { statusCode?: number; message: string }): LocalResponse {
  return {
    status: error.statusCode ?? 500,
    headers: ['content-type', 'application/json; charset=utf-8'],
    body: Buffer.from(JSON.stringify({ error_msg: error.message })),
    details: error.message,
    grpcStatus: -1
  }
}

/** A response with another body: a text, or an object as JSON. */
export function withBody(response: LocalResponse, body: string | object): LocalResponse {
  const isText = typeof body === 'string'
  const headers: string[] = []
  for (let i = 0; i < response.headers.length; i += 2) {
    const name = response.headers[i]!
    if (name !== 'content-type') headers.push(name, response.headers[i + 1]!)
  }
  headers.push('content-type', isText ? 'text/plain' : 'application/json; charset=utf-8')
  return { ...response, headers, body: Buffer.from(isText ? body : JSON.stringify(body)) }
}

const GRPC = /^application\/grpc(?:[+;]|$)/

/** gRPC's own escape of a message in a header: everything but printable ASCII, and the percent sign. */
function percentEncode(bytes: Buffer): string {
  let text = ''
  for (const byte of bytes) {
    if (byte >= 0x20 && byte <= 0x7e && byte !== 0x25) text += String.fromCharCode(byte)
    else text += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return text
}
