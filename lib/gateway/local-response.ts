import { constants } from 'node:http2'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LocalResponse } from '../host/index.ts'
import { errorResponse, messageOf } from './local-message.ts'
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
  const { status, headers, body } = messageOf(response, request.headers['content-type'])
  reply.code(status)
  reply.removeHeader('content-length')
  if (!headers.has('content-type')) reply.removeHeader('content-type')
  for (const [name, values] of headers) reply.header(name, values.length === 1 ? values[0] : values)
  return body
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

/** Answers an error, as the client sees it. */
export function sendError(reply: FastifyReply, error: { statusCode?: number; message: string }): FastifyReply {
  return reply.send(applyLocalResponse(reply.request, reply, errorResponse(error), false))
}
