import type { Readable } from 'node:stream'
import replyFrom from '@fastify/reply-from'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FST_WASM_UPSTREAM_FAILED, FST_WASM_UPSTREAM_UNAVAILABLE } from '../../errors.ts'
import { type Exchange, Progress } from '../exchange.ts'
import { exchangeOf } from '../hooks.ts'
import { withoutHopByHop } from '../hop-by-hop.ts'
import { applyLocalResponse, errorResponse } from '../local-response.ts'
import { discard } from '../response-body.ts'
import type { Agents } from './agents.ts'
import { send, type UpstreamRequest, type UpstreamResponse } from './client.ts'

export type ProxyHandler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply

/** Takes a request through @fastify/reply-from, on the headers that it copies. */
const kForward: unique symbol = Symbol('fastify-wasm-gateway.forward')

interface Forward {
  readonly request: UpstreamRequest
  trailers: UpstreamResponse['trailers']
}

interface RequestOptions {
  headers: { [kForward]: Forward }
  body: unknown
}

/** Stands where @fastify/reply-from expects an undici dispatcher: nodes are chosen, and tried again, behind it. */
class Requestable {
  readonly #agents: Agents

  constructor(agents: Agents) {
    this.#agents = agents
  }

  request(options: RequestOptions, callback: (error: Error | null, response?: object) => void): void {
    const forward = options.headers[kForward]
    send(this.#agents, forward.request, (error, response) => {
      if (error !== null || response === undefined) {
        callback(error)
        return
      }
      const { statusCode, headers, body } = response
      // Fastify sends no other, and @fastify/reply-from would answer twice.
      if (statusCode < 200 || statusCode > 599) {
        body.on('error', () => {}).destroy()
        callback(new FST_WASM_UPSTREAM_FAILED(`it answered the status ${statusCode}`))
        return
      }
      forward.trailers = response.trailers
      callback(null, { statusCode, headers: headersOf(headers), body })
    })
  }

  destroy(): void {}
}

/**
 * Makes the route handler that forwards a request to the upstream of its route, by @fastify/reply-from. What filters
 * changed goes along: the method, path, headers and body; the response comes back as a stream, for the filters of the
 * response.
 */
export async function createProxy(app: FastifyInstance, agents: Agents): Promise<ProxyHandler> {
  // Typed for undici's own dispatchers; anything with `request` serves (lib/request.js, 12.6).
  const undici = new Requestable(agents) as unknown as NonNullable<Parameters<typeof replyFrom>[1]['undici']>
  let from: FastifyReply['from'] | undefined
  await app.register(async (scope) => {
    // Kept here, and no decorator: the application may have registered @fastify/reply-from for itself.
    scope.decorateReply = ((_name: string, decorator: FastifyReply['from']) => {
      from = decorator
      return scope
    }) as typeof scope.decorateReply
    await scope.register(replyFrom, { undici, disableRequestLogging: true })
  })
  return function proxy(request, reply) {
    return forward(from!, request, reply)
  }
}

function forward(from: FastifyReply['from'], request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const exchange = exchangeOf(request)
  const upstream = exchange?.plan.upstream
  if (exchange === null || upstream === undefined) {
    const reason = 'the route has no upstream in its config.wasm'
    return reply.send(
      applyLocalResponse(request, reply, errorResponse(new FST_WASM_UPSTREAM_UNAVAILABLE(reason)), false)
    )
  }
  const controller = new AbortController()
  exchange.onAbort = () => controller.abort()
  const headers = exchange.requestHeaders
  const forwarding: Forward = {
    request: {
      upstream,
      method: headers.get(':method')!,
      path: headers.get(':path')!,
      headers: forwardedHeaders(exchange),
      host: headers.get(':authority')!,
      body: bodyOf(exchange),
      timeouts: upstream.timeouts(exchange.plan.timeout),
      signal: controller.signal
    },
    trailers: {}
  }
  from.call(reply, '/', {
    // The address is chosen per attempt, and the path sent as it is: no part of this URL is used.
    getUpstream: () => 'http://upstream',
    // The body goes by `forwarding`; reply-from refuses one for some methods.
    body: null,
    retryDelay: () => null,
    rewriteRequestHeaders: () => ({ [kForward]: forwarding }) as never,
    onResponse: (_request, _reply, response) => {
      const { stream } = response as unknown as { stream: Readable }
      if (exchange.progress !== Progress.Request || exchange.closed) {
        discard(stream)
        return
      }
      passTrailers(reply, stream, forwarding)
      reply.send(stream)
    },
    onError: (_reply, { error }) => {
      if (exchange.closed || exchange.progress !== Progress.Request) return
      const cause = (error.cause ?? error) as Error & { statusCode?: number }
      request.log.error({ err: cause }, cause.message)
      const response = errorResponse(
        cause.statusCode === undefined ? new FST_WASM_UPSTREAM_FAILED(cause.message) : cause
      )
      reply.send(applyLocalResponse(request, reply, response, false))
    }
  })
  return reply
}

function forwardedHeaders(exchange: Exchange): string[] {
  const list = withoutHopByHop(exchange.requestHeaders.entries())
  const headers: string[] = []
  const hasStreamedBody = exchange.requestBody === undefined && exchange.hasRequestBody
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!
    if (name.charCodeAt(0) === 58 /* : */) continue
    // The length of a body that is at hand is undici's to say.
    if (name === 'content-length' && !hasStreamedBody) continue
    headers.push(name, list[i + 1]!)
  }
  return headers
}

/** What filters have read, else the stream that comes from the client. */
function bodyOf(exchange: Exchange): Buffer | Readable | null {
  const { raw, body } = exchange.request
  if (exchange.requestBody !== undefined) {
    raw.resume()
    return exchange.requestBody.bytes
  }
  if (!exchange.hasRequestBody) return null
  // A route whose own handler calls the proxy has had its body parsed.
  if (body === undefined || body === null) return raw
  if (typeof body === 'string') return Buffer.from(body)
  if (Buffer.isBuffer(body)) return body
  return typeof (body as Readable).pipe === 'function' ? (body as Readable) : Buffer.from(JSON.stringify(body))
}

/** Groups name, value, … as Fastify takes headers, without what is hop-by-hop. */
function headersOf(list: readonly string[]): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {}
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

/** Undici knows the trailers when the body has ended, which is before anybody ends the response. */
function passTrailers(reply: FastifyReply, stream: Readable, forwarding: Forward): void {
  stream.once('end', () => {
    const trailers = Object.entries(forwarding.trailers)
    if (trailers.length > 0 && !reply.raw.writableEnded) reply.raw.addTrailers(Object.fromEntries(trailers) as never)
  })
}
