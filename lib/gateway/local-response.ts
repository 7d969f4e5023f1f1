import { constants } from 'node:http2'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LocalResponse } from '../host/index.ts'
import { HOP_BY_HOP } from './hop-by-hop.ts'
import { removeHeader } from './response-headers.ts'

/**
 * Sets status and headers of a local response on the reply, and answers its body.
 *
 * @param fresh the response stands in place of another one, none of whose headers may be left
 */
export function applyLocalResponse(
  request: FastifyRequest,
  reply: FastifyReply,
  response: LocalResponse,
  fresh: boolean
): Buffer {
  if (fresh) for (const name of Object.keys(reply.getHeaders())) removeHeader(reply, name)
  const grpc = response.grpcStatus >= 0 && response.grpcStatus <= 16 && isGrpc(request)
  reply.code(grpc ? 200 : response.status)
  reply.removeHeader('content-length')

  const values = new Map<string, string[]>()
  const { headers } = response
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    if (HOP_BY_HOP.has(name) || name === 'content-length') continue
    const others = values.get(name)
    if (others === undefined) values.set(name, [headers[i + 1]!])
    else others.push(headers[i + 1]!)
  }
  if (grpc) {
    values.set('content-type', ['application/grpc'])
    values.set('grpc-status', [String(response.grpcStatus)])
    if (response.body.length > 0) values.set('grpc-message', [percentEncode(response.body)])
  } else if (response.body.length > 0) {
    if (!values.has('content-type')) values.set('content-type', ['text/plain'])
  } else if (!values.has('content-type')) {
    reply.removeHeader('content-type')
  }
  for (const [name, all] of values) reply.header(name, all.length === 1 ? all[0] : all)
  return grpc ? Buffer.alloc(0) : response.body
}

/**
 * Ends a response where it stands, so that the client can tell: the connection of HTTP/1, the stream of HTTP/2, which
 * Fastify would end as if that had been all.
 */
export function abortResponse(reply: FastifyReply): void {
  const raw = reply.raw as typeof reply.raw & { stream?: { close?: (code: number) => void } }
  if (raw.stream?.close !== undefined) raw.stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  else raw.destroy()
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

/** Answers an error, as the client sees it. */
export function sendError(reply: FastifyReply, error: { statusCode?: number; message: string }): FastifyReply {
  return reply.send(applyLocalResponse(reply.request, reply, errorResponse(error), false))
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

function isGrpc(request: FastifyRequest): boolean {
  return /^application\/grpc(?:[+;]|$)/.test(request.headers['content-type'] ?? '')
}

/** gRPC's own escape of a message in a header: everything but printable ASCII, and the percent sign. */
function percentEncode(bytes: Buffer): string {
  let text = ''
  for (const byte of bytes) {
    if (byte >= 0x20 && byte <= 0x7e && byte !== 0x25) text += String.fromCharCode(byte)
    else text += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return text
}
