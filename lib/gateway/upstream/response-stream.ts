import type { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Exchange } from '../exchange.ts'
import { isHopByHop, withoutHopByHop } from '../hop-by-hop.ts'
import { errorResponse } from '../local-message.ts'
import { abortResponse } from '../local-response.ts'
import { asGatewayError } from './client.ts'

const EMPTY = Buffer.alloc(0)

/**
 * Sends the upstream's trailers behind its body. They are known when the body has ended, which is before anybody ends
 * the response.
 */
export function passTrailers(
  reply: FastifyReply,
  stream: Readable,
  from: { readonly trailers: readonly string[] }
): void {
  stream.once('end', () => {
    if (reply.raw.writableEnded) return
    const trailers: [string, string][] = []
    for (let i = 0; i < from.trailers.length; i += 2) {
      const name = from.trailers[i]!
      // Framing has no place behind the body that it frames (RFC 9110 §6.5.1).
      if (!isHopByHop(name) && name !== 'content-length') trailers.push([name, from.trailers[i + 1]!])
    }
    if (trailers.length === 0) return
    if (reply.request.raw.httpVersionMajor === 2) reply.raw.addTrailers(grouped(trailers) as never)
    else reply.raw.addTrailers(trailers)
  })
}

/** HTTP/2 takes repeated ones as a list. */
function grouped(trailers: readonly (readonly [string, string])[]): Record<string, string[]> {
  const groups: Record<string, string[]> = Object.create(null)
  for (const [name, value] of trailers) {
    groups[name] ??= []
    groups[name].push(value)
  }
  return groups
}

/** Sends a node's response, whose status and headers the reply has, with its body as a stream. */
export function sendResponse(exchange: Exchange, stream: Readable): void {
  const { reply } = exchange
  stream.once('error', (error) => {
    // As long as no head is sent Fastify answers, with an error of its own.
    if (!reply.raw.headersSent) exchange.replacement ??= errorResponse(asGatewayError(error))
    else abortResponse(reply)
  })
  sendHeadSoon(reply, stream)
  reply.send(stream)
}

/** Groups name, value, … as Fastify takes headers, without what is hop-by-hop. */
export function groupHeaders(list: readonly string[]): Record<string, string | string[]> {
  // No prototype: `constructor` is a header like others.
  const headers: Record<string, string | string[]> = Object.create(null)
  const end = withoutHopByHop(list)
  for (let i = 0; i < end.length; i += 2) {
    const name = end[i]!
    const value = end[i + 1]!
    const present = headers[name]
    if (present === undefined) headers[name] = value
    else if (Array.isArray(present)) present.push(value)
    else headers[name] = [present, value]
  }
  return headers
}

/**
 * Sends the head of a response whose body keeps the client waiting, as that of server-sent events may: by itself Fastify
 * sends it with the body's first bytes. Not when a filter reads the body, since it may still answer something else.
 */
function sendHeadSoon(reply: FastifyReply, stream: Readable): void {
  const { raw } = reply
  if (reply.request.method === 'HEAD') return
  raw.once('pipe', (source) => {
    if (source !== stream) return
    setImmediate(() => {
      if (raw.headersSent || raw.destroyed || stream.errored || raw.statusCode === 304) return
      // Not `flushHeaders`, which sends bytes above 0x7f as UTF-8.
      raw.write(EMPTY)
    })
  })
}
