import type { FastifyInstance, FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import { type Body, Outcome } from '../host/index.ts'
import { Exchange, Progress } from './exchange.ts'
import { applyLocalResponse, sendError } from './local-response.ts'
import { discard } from './payload.ts'
import type { Plan } from './plan.ts'
import type { Plans } from './plans.ts'
import { parseChangedBody } from './request-body-access.ts'
import { runRequestPhase } from './request-phase.ts'
import { NOTHING, respondInstead, runResponsePhase, takeResponse } from './response-phase.ts'
import { forwardBody, routeContext } from './route-context.ts'
import type { ProxyHandler } from './upstream/proxy.ts'

/** Where a request keeps its exchange. */
const kExchange: unique symbol = Symbol('fastify-wasm-gateway.exchange')
/** Marks the configuration of a route whose handler is the proxy: its body stays the stream that came. */
export const kProxied: unique symbol = Symbol('fastify-wasm-gateway.proxied')
/** Marks the configuration of a route that no filter ever runs on: the Admin API's. */
export const kUnfiltered: unique symbol = Symbol('fastify-wasm-gateway.unfiltered')
declare module 'fastify' {
  interface FastifyRequest {
    [kExchange]: Exchange | null
  }
}

/** So long what nobody will read of a body is let go of. */
const LINGER_MS = 3000

/** Tells of a request that the application has no route for whether no filter may run on it. */
export type IsUnfiltered = (request: FastifyRequest) => boolean

/** Never settles: what waits for it goes on no more, and is collected with the request. */
const never = (): Promise<never> => new Promise(() => {})

/** The exchange of a request; `null` when nothing is to be done for it. */
export function exchangeOf(request: FastifyRequest): Exchange | null {
  // Not even null in a scope that was made before the gateway was registered.
  return request[kExchange] ?? null
}

/**
 * Hooks the phases into an application (rewrite in `onRequest`, access in `preHandler`, responses in `onSend`,
 * the end at the close of the raw response). All hooks are of the kind with `done`, called at once when nothing waits, and
 * answer a promise when something does: a late error in a `done` of `onSend` would end the process.
 */
export function addHooks(app: FastifyInstance, plans: Plans, proxy: ProxyHandler, isUnfiltered: IsUnfiltered): void {
  const planOf = (request: FastifyRequest): Plan | undefined => {
    const { config } = routeContext(request)
    if (kUnfiltered in config) return undefined
    // What the application has no route for may be the gateway's own.
    if (config.url !== undefined) return plans.of(config)
    return isUnfiltered(request) ? undefined : plans.match(request)
  }

  app.decorateRequest(kExchange, null)

  app.addHook('onRequest', (request, reply, done) => {
    let plan: Plan | undefined
    try {
      plan = planOf(request)
    } catch (error) {
      done(error as Error)
      return
    }
    // Another gateway, registered in an inner scope, may have taken the request.
    if (plan === undefined || exchangeOf(request) !== null) {
      done()
      return
    }
    const exchange = open(request, reply, plan)
    if (plan.forwarded) forwardBody(request, proxy)
    else if (isProxied(request)) forwardBody(request, undefined)
    // Before anybody reads it: a hook that decompresses may stand before the parser.
    else if (plan.watchesBody && exchange.hasRequestBody) exchange.rawBody.watch()
    return runPhase(exchange, plan.rewrite, reply, done, putBodyBack)
  })

  app.addHook('preHandler', (request, reply, done) => {
    const exchange = exchangeOf(request)
    if (exchange === null || exchange.accessed) {
      done()
      return
    }
    exchange.accessed = true
    exchange.reconcileHeaders()
    if (exchange.requestBody !== undefined) exchange.requestBody.changed = false
    // The upstream of a proxied request is sent what the filters have read.
    return runPhase(exchange, exchange.plan.access, reply, done, isProxied(request) ? undefined : parseChangedBody)
  })

  app.addHook('onSend', (request, reply, payload, done) => {
    let exchange = exchangeOf(request)
    if (exchange === null) {
      // A hook that was added before ours has answered.
      let plan: Plan | undefined
      try {
        plan = planOf(request)
      } catch {
        // The route's configuration is why there is an error to send.
      }
      if (plan === undefined) {
        done(null, payload)
        return
      }
      exchange = open(request, reply, plan)
    }
    if (exchange.progress !== Progress.Request) return sendAgain(exchange, payload, done)
    const { answer } = exchange
    if (answer !== undefined) discard(payload)
    // What the handler has sent is on its way already where there is a payload: nothing of it may be left.
    const isOther = payload !== undefined && payload !== null
    const sent = answer === undefined ? payload : applyLocalResponse(request, reply, answer, isOther)
    const result = runResponsePhase(exchange, sent)
    if (!(result instanceof Promise)) {
      if (result !== NOTHING) done(null, result)
      return
    }
    exchange.responding = true
    // A stream that fails while filters hold its head has nobody else to tell; Fastify finds out when it is sent.
    if (isStream(sent)) sent.on('error', () => {})
    return result.then((settled) => {
      // Out of time: Fastify's own answer has gone instead.
      if (!exchange.responding || settled === NOTHING) return never()
      exchange.responding = false
      return settled
    })
  })
}

function close(exchange: Exchange, aborted: boolean): void {
  // Who reads the body is told that there will be no more, and then Fastify goes no further by itself.
  if (aborted && !exchange.isReadByParser) exchange.reply.hijack()
  exchange.close(aborted)
}

/** By connection, the exchanges whose response waits for one before it (pipelining). */
const waiting: WeakMap<object, Set<Exchange>> = new WeakMap()

/** A response that waits for one before it is not told when the connection is lost. */
function closeWhenLost(exchange: Exchange): void {
  const { socket } = exchange.request.raw
  const exchanges = waiting.get(socket) ?? new Set()
  if (!waiting.has(socket)) {
    waiting.set(socket, exchanges)
    // One listener for all: of many, Node warns.
    socket.once('close', () => {
      for (const lost of [...exchanges]) close(lost, true)
    })
  }
  exchanges.add(exchange)
  exchange.reply.raw.on('close', () => exchanges.delete(exchange))
}

function isProxied(request: FastifyRequest): boolean {
  return exchangeOf(request)?.plan.forwarded === true || kProxied in routeContext(request).config
}

function isStream(payload: unknown): payload is NodeJS.ReadableStream {
  return typeof payload === 'object' && payload !== null && 'on' in payload && typeof payload.on === 'function'
}

function open(request: FastifyRequest, reply: FastifyReply, plan: Plan): Exchange {
  const exchange = new Exchange(request, reply, plan, interrupt)
  request[kExchange] = exchange
  // The one event that always comes. Where the response is not complete by then, Fastify would go on and run the handler
  // of a request that was denied, or that nobody waits for: `hijack` stops it (Fastify 5.12; `writableEnded`, since a
  // cancelled HTTP/2 stream counts as finished).
  reply.raw.on('close', () => close(exchange, !reply.raw.writableEnded))
  if (reply.raw.socket === null) closeWhenLost(exchange)
  return exchange
}

/**
 * Runs a request phase in a hook.
 *
 * @param settleBody what becomes of the body that the filters have read
 */
function runPhase(
  exchange: Exchange,
  indexes: readonly number[],
  reply: FastifyReply,
  done: HookHandlerDoneFunction,
  settleBody: ((exchange: Exchange, body: Body) => void | Promise<void>) | undefined
): Promise<void> | undefined {
  const outcome = runRequestPhase(exchange, indexes)
  if (typeof outcome === 'number') {
    if (outcome === Outcome.Continue) {
      if (exchange.accessed) exchange.requestPassed()
      done()
    } else {
      respond(exchange, outcome)
    }
    return undefined
  }
  return outcome.then(
    async (settled) => {
      if (exchange.closed) return never()
      if (settled !== Outcome.Continue) {
        respond(exchange, settled)
        return never()
      }
      const body = exchange.requestBody
      if (body?.changed) exchange.requestHeaders.setContentLength(body.bytes.length)
      if (body !== undefined) await settleBody?.(exchange, body)
      if (exchange.closed) return never()
      if (exchange.accessed) exchange.requestPassed()
    },
    (error: Error & { statusCode?: number }) => {
      if (error.statusCode !== 413) throw error
      endConnection(exchange)
      sendError(reply, error)
      return never()
    }
  )
}

/**
 * The connection ends with the answer, but more of the body is on its way than anybody will read. What comes is let go of
 * for a while: a client that is cut off while it sends may never see the answer (RFC 9112 §9.6).
 */
function endConnection({ request, reply }: Exchange): void {
  const { raw } = request
  if (raw.httpVersionMajor !== 1) return
  reply.header('connection', 'close')
  const { socket } = raw
  const { destroySoon } = socket
  // Node calls it when the response is sent (`inject` has none).
  if (destroySoon === undefined) return
  const linger = () => {
    if (raw.complete) return destroySoon.call(socket)
    socket.end()
    const timer = setTimeout(() => socket.destroy(), LINGER_MS)
    socket.once('close', () => clearTimeout(timer))
    raw.once('end', () => destroySoon.call(socket))
  }
  socket.destroySoon = linger
}

/** Answers in place of the handler. Nothing goes on afterwards, so a denied request never reaches its handler. */
function respond(exchange: Exchange, outcome: Outcome): void {
  if (exchange.closed) return
  if (exchange.wasReset) {
    exchange.abort()
    return
  }
  const { reply, request } = exchange
  const body = applyLocalResponse(request, reply, takeResponse(exchange, outcome), false)
  if (body.length > 0) reply.send(body)
  else reply.send()
}

/**
 * Something is sent when a response has begun to pass the filters. The first one counts, and what comes after it must not
 * overtake the filters: a handler may send twice. Except for what Fastify itself sends when the first one came to nothing.
 */
function sendAgain(
  exchange: Exchange,
  payload: unknown,
  done: (error: null, payload: unknown) => void
): Promise<never> | undefined {
  const { replacement, request } = exchange
  if (replacement !== undefined) {
    exchange.replacement = undefined
    done(null, respondInstead(exchange, replacement))
    return undefined
  }
  if (exchange.answer !== undefined || (exchange.responding && !isOutOfTime(request))) {
    discard(payload)
    return never()
  }
  exchange.responding = false
  done(null, payload)
  return undefined
}

/** Whether Fastify's `handlerTimeout` has ended the request, so that it sends its own 503. */
function isOutOfTime(request: FastifyRequest): boolean {
  if (!((request.routeOptions as { handlerTimeout?: number }).handlerTimeout! > 0)) return false
  const { signal } = request
  return signal.aborted && (signal.reason as { code?: string } | undefined)?.code === 'FST_ERR_HANDLER_TIMEOUT'
}

/**
 * A filter answers while the application's handler or the upstream is at work. What the handler has sent may be on its way
 * through other hooks: whichever comes first, the filter's answer is what is sent.
 */
function interrupt(exchange: Exchange): void {
  if (exchange.progress !== Progress.Request || !exchange.interrupted || exchange.reply.sent) return
  exchange.onAbort?.()
  if (exchange.wasReset) {
    exchange.abort()
    return
  }
  exchange.answer = takeResponse(exchange, Outcome.Stop)
  exchange.reply.send()
  // What the handler sends now comes too late.
  exchange.reply.hijack()
}

/** The body that the rewrite phase has read goes to Fastify's parser, or to the upstream. */
function putBodyBack(exchange: Exchange, body: Body): void {
  exchange.rawBody.putBack(body.bytes, body.changed)
}
