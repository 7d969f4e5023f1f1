import { Readable } from 'node:stream'
import { FST_WASM_RESPONSE_ENDED } from '../errors.ts'
import { type HttpContext, type LocalResponse, Outcome } from '../host/index.ts'
import type { Exchange } from './exchange.ts'
import { within } from './filter-phase.ts'
import { errorResponse, withBody } from './local-message.ts'
import { applyLocalResponse } from './local-response.ts'
import { discard, isBuffered, isEmpty } from './payload.ts'
import { filterBuffer, filterStream } from './response-body.ts'

/** What a phase ends with when there is nothing left to send. */
export const NOTHING: unique symbol = Symbol('fastify-wasm-gateway.nothing')

/**
 * Runs the response callbacks of all filters of an exchange over the payload of `onSend`.
 *
 * @returns the payload to send, at once when nothing had to wait; `NOTHING` when the exchange is over
 */
export function runResponsePhase(exchange: Exchange, payload: unknown): unknown {
  exchange.beginResponse()
  const body = unwrapResponse(exchange, payload)
  exchange.responseHeaders.begin(body)
  return runHeaders(exchange, body, isEmpty(body) || isBodyless(exchange), 0)
}

const responseHeaders = (context: HttpContext, endOfStream: boolean) => context.responseHeaders(endOfStream)

function runHeaders(exchange: Exchange, payload: unknown, endOfStream: boolean, from: number): unknown {
  const { filters } = exchange.plan
  for (let i = from; i < filters.length; i++) {
    // What failed with the request has been answered for.
    if (exchange.isOut(i)) continue
    const outcome = within(exchange, i, responseHeaders, endOfStream)
    if (typeof outcome !== 'number') {
      return outcome.then((settled) => afterHeaders(exchange, payload, endOfStream, i, settled))
    }
    if (outcome !== Outcome.Continue) return afterHeaders(exchange, payload, endOfStream, i, outcome)
  }
  return runBody(exchange, payload)
}

function afterHeaders(
  exchange: Exchange,
  payload: unknown,
  endOfStream: boolean,
  index: number,
  outcome: Outcome
): unknown {
  if (exchange.closed) return NOTHING
  if (outcome === Outcome.Continue) return runHeaders(exchange, payload, endOfStream, index + 1)
  discard(payload)
  if (exchange.wasReset) {
    exchange.abort()
    return NOTHING
  }
  const body = respondInstead(exchange, takeResponse(exchange, outcome))
  return runHeaders(exchange, body, body.length === 0 || isBodyless(exchange), index + 1)
}

function runBody(exchange: Exchange, payload: unknown): unknown {
  const { reply } = exchange
  if (exchange.plan.seesTrailers) exchange.watchTrailers()
  const hasBody = !isEmpty(payload) && !isBodyless(exchange)
  let indexes: number[] | undefined
  for (let i = 0; i < exchange.plan.filters.length; i++) {
    if (exchange.isOut(i) || !exchange.opened(i)?.takesResponseBody(hasBody)) continue
    indexes ??= []
    indexes.push(i)
  }
  if (indexes === undefined || reply.statusCode === 204 || reply.statusCode === 304) {
    // Node would send the head of a string body as UTF-8, and so the bytes of a filter's header as others.
    return typeof payload === 'string' && exchange.responseHeaders.highBytes ? Buffer.from(payload) : payload
  }
  exchange.responseHeaders.openBody()
  if (exchange.request.raw.method === 'HEAD') {
    // There is no body to call the filters with, and how long theirs would be nobody knows.
    return emptyStream(payload)
  }
  if (!isBuffered(payload)) return filterStream(exchange, indexes, payload, refuse)
  return filterBuffer(exchange, indexes, payload).then((filtered) => {
    if (Buffer.isBuffer(filtered)) {
      exchange.responseTrailers.announce(reply)
      return filtered
    }
    if (exchange.closed) return NOTHING
    if (exchange.wasReset) {
      exchange.abort()
      return NOTHING
    }
    return respondInstead(exchange, takeResponse(exchange, filtered))
  })
}

/** A filter will not have the body of a stream go on. What becomes of it, as the error that ends the stream. */
function refuse(exchange: Exchange, outcome: Outcome): Error {
  const response = takeResponse(exchange, outcome)
  // Fastify turns the error of a stream whose head is not sent into a response, which this one then replaces. One whose
  // head is sent it would end on HTTP/2 as if it were complete.
  if (exchange.wasReset || exchange.reply.raw.headersSent) exchange.abort()
  else exchange.replacement = response
  return errorFor(exchange, outcome)
}

/** What the filter answered; that it failed; or that there is no more to come, since the server closes. */
export function takeResponse(exchange: Exchange, outcome: Outcome): LocalResponse {
  // Taken in any case: what a filter has answered before it failed is not the next one's answer.
  const local = exchange.takeLocalResponse()
  const response = (outcome === Outcome.Stop ? local : undefined) ?? errorResponse(errorFor(exchange, outcome))
  exchange.responseDetails = response.details
  const { errorResponse: body } = exchange
  return body === undefined || response.status < 400 ? response : withBody(response, body)
}

function errorFor(exchange: Exchange, outcome: Outcome): Error {
  return (outcome === Outcome.Failed ? exchange.failure : undefined) ?? new FST_WASM_RESPONSE_ENDED()
}

/** Puts another response in place of the one that was there: nothing of that one is left. */
export function respondInstead(exchange: Exchange, response: LocalResponse): Buffer {
  const body = applyLocalResponse(exchange.request, exchange.reply, response, true)
  exchange.responseHeaders.begin(body)
  return body
}

function isBodyless(exchange: Exchange): boolean {
  const { statusCode } = exchange.reply
  return exchange.request.raw.method === 'HEAD' || statusCode === 204 || statusCode === 304
}

/** A `Response` says its status and headers itself, and Fastify would apply them when no filter can see them any more. */
function unwrapResponse(exchange: Exchange, payload: unknown): unknown {
  if (typeof payload !== 'object' || Object.prototype.toString.call(payload) !== '[object Response]') return payload
  const response = payload as { status: number; headers: Iterable<[string, string]>; body: unknown }
  exchange.reply.code(response.status)
  for (const [name, value] of response.headers) exchange.reply.header(name, value)
  // Not null: the handler of a HEAD route that Fastify adds takes it for a stream.
  return response.body ?? ''
}

function emptyStream(payload: unknown): unknown {
  discard(payload)
  return Readable.from([])
}
