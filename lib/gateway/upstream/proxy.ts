import { Readable } from 'node:stream'
import replyFrom from '@fastify/reply-from'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FST_WASM_UPSTREAM_FAILED, FST_WASM_UPSTREAM_UNAVAILABLE } from '../../errors.ts'
import { type Exchange, Progress } from '../exchange.ts'
import { exchangeOf } from '../hooks.ts'
import { withoutHopByHop } from '../hop-by-hop.ts'
import { sendError } from '../local-response.ts'
import { discard } from '../payload.ts'
import { upgradeOf } from '../upgrades.ts'
import { variableOf } from '../variables.ts'
import type { Agents } from './agents.ts'
import { WholeBody } from './attempt.ts'
import { send, type UpstreamRequest } from './client.ts'
import { groupHeaders, passTrailers, sendResponse } from './response-stream.ts'
import { forwardWebsocket, wantsWebsocket } from './tunnel.ts'

export type ProxyHandler = (request: FastifyRequest, reply: FastifyReply) => FastifyReply

/** Takes a request through @fastify/reply-from, on the headers that it copies. */
const kForward: unique symbol = Symbol('fastify-wasm-gateway.forward')

interface Forward {
  readonly request: UpstreamRequest
  trailers: readonly string[]
  abort: (() => void) | undefined
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
    forward.abort = send(this.#agents, forward.request, (error, response) => {
      if (error !== null || response === undefined) {
        callback(error)
        return
      }
      const { statusCode, headers, body } = response
      // Fastify sends no other, and @fastify/reply-from would answer twice.
      if (statusCode < 200 || statusCode > 599) {
        discard(body)
        callback(new FST_WASM_UPSTREAM_FAILED(`it answered the status ${statusCode}`))
        return
      }
      forward.trailers = response.trailers
      callback(null, { statusCode, headers: groupHeaders(headers), body })
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
    return sendError(reply, new FST_WASM_UPSTREAM_UNAVAILABLE('the route has no upstream'))
  }
  exchange.reconcileHeaders()
  const headers = exchange.requestHeaders
  const body = bodyOf(exchange)
  const forwarding: Forward = {
    request: {
      upstream,
      method: headers.get(':method')!,
      path: originForm(headers.get(':path')!),
      headers: forwardedHeaders(exchange, body),
      host: headers.get(':authority')!,
      hashKey: upstream.hashKey((name) => variableOf(request, name)),
      body,
      timeouts: upstream.timeouts(exchange.plan.timeout),
      // They are there when filters have had the body read.
      trailers: Buffer.isBuffer(body) ? trailersOf(exchange) : [],
      onNode: (node) => {
        exchange.upstreamNode = node
      }
    },
    trailers: [],
    abort: undefined
  }
  const upgrade = upgradeOf(request.raw)
  if (upgrade !== undefined && wantsWebsocket(exchange)) {
    forwardWebsocket(exchange, forwarding.request, upgrade)
    return reply
  }
  // Not a function that is written where it is assigned to a property: V8 puts that into its old space at once, where it
  // keeps all of the exchange until the next full collection.
  const abort = () => forwarding.abort?.()
  exchange.onAbort = abort
  const ownConnection = reply.hasHeader('connection')
  from.call(reply, '/', {
    // The address is chosen per attempt, and the path sent as it is: no part of this URL is used.
    getUpstream: () => 'http://upstream',
    // The body goes by `forwarding`; reply-from refuses one for some methods.
    body: null,
    retryDelay: () => null,
    rewriteRequestHeaders: () => ({ [kForward]: forwarding }) as never,
    onResponse: (_request, _reply, response) => {
      const { stream } = response as unknown as { stream: Readable | WholeBody }
      if (exchange.progress !== Progress.Request || exchange.closed) {
        discard(stream)
        return
      }
      // Set by @fastify/reply-from where the node has answered before the body was there: a connection that is closed
      // with bytes unread is reset, and the answer lost. Here the rest of the body is read, and thrown away.
      if (!ownConnection && reply.hasHeader('connection')) reply.removeHeader('connection')
      if (stream instanceof WholeBody && isPlain(reply, stream)) {
        reply.send(stream.bytes)
        return
      }
      const body = stream instanceof WholeBody ? streamOf(stream) : stream
      passTrailers(reply, body, forwarding)
      sendResponse(exchange, body)
    },
    onError: (_reply, { error }) => {
      if (exchange.closed || exchange.progress !== Progress.Request) return
      const cause = (error.cause ?? error) as Error & { statusCode?: number }
      request.log.error({ err: cause }, cause.message)
      sendError(reply, cause.statusCode === undefined ? new FST_WASM_UPSTREAM_FAILED(cause.message) : cause)
    }
  })
  return reply
}

/** Whether Fastify sends a body that is at hand just as it came: it adds a type and a length where there are none. */
function isPlain(reply: FastifyReply, { bytes }: WholeBody): boolean {
  return bytes.length > 0 && reply.hasHeader('content-length') && reply.hasHeader('content-type')
}

function streamOf({ bytes }: WholeBody): Readable {
  return new Readable({
    read() {
      if (bytes.length > 0) this.push(bytes)
      this.push(null)
    }
  })
}

/** What filters see is the target as the client wrote it; a proxy's is a whole URL, which is not for the node to read. */
function originForm(path: string): string {
  const match = /^https?:\/\/[^/?#]*(\/?)/i.exec(path)
  if (match === null) return path
  return (match[1] === '' ? '/' : '') + path.slice(match[0].length - match[1]!.length)
}

function forwardedHeaders(exchange: Exchange, body: Buffer | Readable | null): string[] {
  const { raw } = exchange.request
  const list = withoutHopByHop(exchange.requestHeaders.entries(), raw.rawHeaders)
  const headers: string[] = []
  const cookies: string[] = []
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!
    if (name.charCodeAt(0) === 58 /* : */ || name === 'content-length') continue
    if (name === 'cookie' && raw.httpVersionMajor === 2) cookies.push(list[i + 1]!)
    else headers.push(name, list[i + 1]!)
  }
  // HTTP/2 splits them, and HTTP/1 wants them in one (RFC 9113 §8.2.3).
  if (cookies.length > 0) headers.push('cookie', cookies.join('; '))
  // The length of a body that is at hand is undici's to say. That of what streams through is the client's to say, and no
  // filter's: one may have removed it without changing the body.
  if (body === raw) {
    const length = contentLengthOf(raw.rawHeaders)
    if (length !== undefined) headers.push('content-length', length)
  }
  return headers
}

/** What the client, and filters, have put behind the body; without what frames it. */
function trailersOf(exchange: Exchange): string[] {
  return withoutHopByHop(exchange.requestTrailers.entries())
}

function contentLengthOf(rawHeaders: readonly string[]): string | undefined {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length === 14 && name.toLowerCase() === 'content-length') return rawHeaders[i + 1]
  }
  return undefined
}

/** What filters have read, else the stream that comes from the client. */
function bodyOf(exchange: Exchange): Buffer | Readable | null {
  const { raw, body } = exchange.request
  if (exchange.requestBody !== undefined) {
    raw.resume()
    return exchange.requestBody.bytes
  }
  if (!exchange.hasRequestBody) return null
  if (!raw.readableEnded && (body === undefined || body === null)) return raw
  return parsedBody(body, exchange.requestHeaders.get('content-type'))
}

/** A route whose own handler calls the proxy has had its body parsed. */
function parsedBody(body: unknown, contentType: string = ''): Buffer | Readable | null {
  if (body === undefined) return null
  if (Buffer.isBuffer(body)) return body
  if (typeof (body as Readable | null)?.pipe === 'function') return body as Readable
  const isText = typeof body === 'string' && !/^application\/(?:[^;]+\+)?json/i.test(contentType)
  return Buffer.from(isText ? body : JSON.stringify(body))
}
