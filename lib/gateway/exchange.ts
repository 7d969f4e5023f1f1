import type { FastifyReply, FastifyRequest } from 'fastify'
import type { UpstreamNode } from '../config/validate.ts'
import { FST_WASM_FILTER_FAILED } from '../errors.ts'
import {
  type Body,
  type HttpContext,
  type LocalResponse,
  Outcome,
  PropertyMap,
  type PropertyValue,
  type Stream
} from '../host/index.ts'
import type { FilteredExchange, Snapshot } from './filter-phase.ts'
import { abortResponse } from './local-response.ts'
import type { Plan } from './plan.ts'
import { builtInProperty } from './properties.ts'
import { ReadAhead } from './read-ahead.ts'
import { RequestBody } from './request-body.ts'
import { RequestHeaders } from './request-headers.ts'
import { ResponseHeaders } from './response-headers.ts'
import { RequestTrailers, ResponseTrailers } from './trailers.ts'

/** Where an exchange is. */
export const Progress = {
  /** Request phases, or between them. */
  Request: 0,
  /** The response has begun to pass the filters. */
  Response: 1,
  Closed: 2
} as const
export type Progress = (typeof Progress)[keyof typeof Progress]

/** One request and its response, on a route that has filters or an upstream: what its filters see as their stream. */
export class Exchange implements Stream, FilteredExchange {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly plan: Plan
  readonly startedAt: number = Date.now()
  /**
   * Whether the request has a body, by the request itself: a filter may have removed `content-length` from the headers
   * because it means to change the body.
   */
  readonly hasRequestBody: boolean
  progress: Progress = Progress.Request
  /** Whether the access phase has begun: `callNotFound` runs `preHandler` a second time. */
  accessed = false
  /** The body, once a filter has read it. */
  requestBody: Body | undefined
  /** Why the last filter that failed did, as the client is told. */
  failure: Error | undefined
  /** The upstream's node that the request was sent to last. */
  upstreamNode: UpstreamNode | undefined
  /** Details of the local response that was sent. */
  responseDetails: string | undefined
  /** What a filter has answered while the handler was at work: it is sent, whatever comes to be sent first. */
  answer: LocalResponse | undefined
  /** Whether the response waits for its filters. */
  responding = false
  /** A response that stands in for one whose body a filter refused before its head was sent. */
  replacement: LocalResponse | undefined
  /** Called when a filter answers or resets while the response passes and no filter is at work on it. */
  onInterrupt: (() => void) | undefined
  /** Called when the exchange is over and the response is not complete. */
  onAbort: (() => void) | undefined
  readonly log: FastifyRequest['log']
  #duration: number | undefined
  readonly #contexts: (HttpContext | undefined)[]
  /** By index of the filter, whether it takes no part, where that has been decided; `undefined`: all do, so far. */
  #out: (boolean | undefined)[] | undefined
  #method: string | undefined
  #requestHeaders: RequestHeaders | undefined
  #responseHeaders: ResponseHeaders | undefined
  #requestTrailers: RequestTrailers | undefined
  #responseTrailers: ResponseTrailers | undefined
  #rawBody: RequestBody | undefined
  #readAhead: ReadAhead | undefined
  #properties: PropertyMap | undefined
  #localResponse: LocalResponse | undefined
  /** Index of the filter that has answered or failed last. */
  #answeredBy = -1
  #reset = false
  /** A filter has wanted to respond when the response had been sent. */
  #wasTooLate = false
  /** The context in whose phase the exchange is. */
  #active: HttpContext | undefined
  /** Answers between two phases, while the application's handler or the upstream is at work. */
  readonly #interrupt: (exchange: Exchange) => void

  constructor(request: FastifyRequest, reply: FastifyReply, plan: Plan, interrupt: (exchange: Exchange) => void) {
    this.request = request
    this.reply = reply
    this.plan = plan
    this.log = request.log
    this.hasRequestBody = hasBody(request.raw)
    this.#contexts = new Array(plan.filters.length)
    this.#interrupt = interrupt
    plan.enter()
  }

  /** The id of a route of the gateway, the url of one of the application; `undefined` where the request matched none. */
  get route(): string | undefined {
    return this.plan.route ?? this.request.routeOptions.url
  }

  get requestHeaders(): RequestHeaders {
    if (this.#requestHeaders === undefined) {
      this.#requestHeaders = new RequestHeaders(this.request)
      this.#requestHeaders.writable = this.progress === Progress.Request
    }
    return this.#requestHeaders
  }

  get responseHeaders(): ResponseHeaders {
    this.#responseHeaders ??= new ResponseHeaders(this.reply)
    return this.#responseHeaders
  }

  get requestTrailers(): RequestTrailers {
    // What has not arrived yet may arrive later.
    if (this.#requestTrailers === undefined || this.#requestTrailers.entries().length === 0) {
      this.#requestTrailers = new RequestTrailers(this.request)
    }
    this.#requestTrailers.writable = this.progress === Progress.Request
    return this.#requestTrailers
  }

  get responseTrailers(): ResponseTrailers {
    this.watchTrailers()
    return this.#responseTrailers!
  }

  /** Before anybody adds trailers to the response. */
  watchTrailers(): void {
    this.#responseTrailers ??= new ResponseTrailers(this)
  }

  /** Calls the filters with the trailers of the response, which they may change. */
  responseTrailersPass(): void {
    for (const [i, context] of this.#contexts.entries()) if (!this.isOut(i)) context?.responseTrailers()
  }

  get rawBody(): RequestBody {
    this.#rawBody ??= new RequestBody(this.request.raw, this.plan.bodyLimit)
    return this.#rawBody
  }

  /** Whether the request has trailers, or says that it will: they are known when its body has been read. */
  get mayHaveTrailers(): boolean {
    const { raw } = this.request
    // `inject` makes requests without any.
    return raw.rawTrailers?.length > 0 || (this.hasRequestBody && raw.headers.trailer !== undefined)
  }

  /** Milliseconds, when the exchange is over: few ask, and the time is not for nothing. */
  get duration(): number | undefined {
    if (!this.closed) return undefined
    this.#duration ??= Date.now() - this.startedAt
    return this.#duration
  }

  get closed(): boolean {
    return this.progress === Progress.Closed
  }

  get interrupted(): boolean {
    return this.#reset || this.#localResponse !== undefined
  }

  get wasReset(): boolean {
    return this.#reset
  }

  /** The local response that a filter asked for, which is the caller's to send. */
  takeLocalResponse(): LocalResponse | undefined {
    const response = this.#localResponse
    this.#localResponse = undefined
    return response
  }

  /** What the configuration of the filter that has answered has in place of the body of error responses. */
  get errorResponse(): string | object | undefined {
    return this.plan.errorResponses?.[this.#answeredBy]
  }

  /**
   * The HTTP context of a filter, opened at the first phase that needs it; `undefined` when the filter does not start.
   *
   * @param index of the filter in the plan
   */
  context(index: number): HttpContext | undefined {
    const opened = this.#contexts[index]
    if (opened !== undefined) return opened
    const context = this.plan.filters[index]!.open(this)
    this.#contexts[index] = context
    return context
  }

  /** The context of a filter, when a phase has opened it. */
  opened(index: number): HttpContext | undefined {
    return this.#contexts[index]
  }

  /**
   * Notes that a filter failed: it is called no more in this exchange.
   *
   * @param before what the exchange was like when the filter was called, where it may go on without it
   * @returns how its phase ends
   */
  fail(index: number, failure?: Error, before?: Snapshot): typeof Outcome.Failed | typeof Outcome.Continue {
    this.#out ??= []
    this.#out[index] = true
    if (failure === undefined && this.plan.failsOpen(index)) {
      if (before !== undefined) this.#restore(before)
      return Outcome.Continue
    }
    this.#answeredBy = index
    this.failure = failure ?? new FST_WASM_FILTER_FAILED(this.plan.filters[index]!.plugin.name)
    return Outcome.Failed
  }

  /** What a filter that fails must not have changed. */
  snapshot(): Snapshot {
    return {
      requestHeaders: this.requestHeaders.entries().slice(),
      responseHeaders: this.responseHeaders.snapshot(),
      requestTrailers: this.#requestTrailers?.entries().slice(),
      properties: this.#properties?.copy(),
      interrupted: this.interrupted
    }
  }

  #restore({ requestHeaders, responseHeaders, requestTrailers = [], properties, interrupted }: Snapshot): void {
    this.#properties = properties
    if (this.requestHeaders.writable) this.requestHeaders.restore(requestHeaders)
    this.responseHeaders.putBack(responseHeaders)
    if (this.#requestTrailers?.writable) this.#requestTrailers.restore(requestTrailers)
    if (interrupted) return
    this.#localResponse = undefined
    this.#reset = false
  }

  /** Whether a filter takes no part in the exchange: it has failed, or is for other requests (`_meta.filter`). */
  isOut(index: number): boolean {
    return this.#out?.[index] ?? (this.plan.conditions !== undefined && this.#isSkipped(index))
  }

  /** Decided once, by the request as it is when the filter's turn comes first. */
  #isSkipped(index: number): boolean {
    const condition = this.plan.conditions?.[index]
    const skipped = condition !== undefined && !condition(this.request)
    this.#out ??= []
    this.#out[index] = skipped
    return skipped
  }

  /** The application's hooks may have changed headers between the phases, and before the proxy. */
  reconcileHeaders(): void {
    this.#requestHeaders?.reconcile()
  }

  /**
   * The request goes on to the application's handler. It sees the method that a filter has set; not before, since Fastify
   * decides by the method whether there is a body to parse. And what no filter has read of the body is let go of.
   */
  requestPassed(): void {
    if (this.requestBody === undefined) this.#rawBody?.forget()
    const method = this.#requestHeaders?.get(':method')
    const { raw } = this.request
    if (method === undefined || method === raw.method) return
    this.#method = raw.method
    raw.method = method
  }

  /** There is a response: what filters would still change of the request has no effect any more. */
  beginResponse(): void {
    this.progress = Progress.Response
    if (this.#requestHeaders !== undefined) this.#requestHeaders.writable = false
    // The response is framed by the method of the request that came.
    if (this.#method !== undefined) this.request.raw.method = this.#method
    this.#method = undefined
  }

  /** Ends the exchange without a response. */
  abort(): void {
    this.reply.hijack()
    abortResponse(this.reply)
  }

  /** Enters a phase of a filter, so that what happens meanwhile ends its wait. `leave` when the phase is over. */
  enter(context: HttpContext): void {
    this.#active = context
  }

  wait(): void {
    const { raw } = this.request
    // What `inject` makes is neither.
    if (!this.hasRequestBody || raw.complete !== false || raw.httpVersionMajor !== 1) return
    this.#readAhead = new ReadAhead(raw, this.plan.bodyLimit)
  }

  leave(): void {
    this.#active = undefined
    this.#readAhead?.stop()
    this.#readAhead = undefined
  }

  getProperty(path: string): PropertyValue | undefined {
    return builtInProperty(this, path) ?? this.#properties?.get(path)
  }

  setProperty(path: string, value: Buffer): boolean {
    this.#properties ??= new PropertyMap()
    return this.#properties.set(path, value)
  }

  sendLocalResponse(response: LocalResponse): void {
    if (this.interrupted) return
    if (this.closed || this.reply.raw.headersSent) {
      // Once: a filter may go on and on.
      if (!this.#wasTooLate) {
        this.log.warn({ details: response.details }, 'a filter wanted to respond when the response had been sent')
      }
      this.#wasTooLate = true
      // In the middle of a body: what the filter will not have pass must not pass.
      if (this.#active !== undefined || this.onInterrupt !== undefined) this.reset()
      return
    }
    this.#localResponse = response
    this.#answeredBy = this.#contexts.indexOf(this.#active)
    this.#wake()
  }

  reset(): void {
    if (this.interrupted || this.closed) return
    this.#reset = true
    this.#wake()
  }

  /** Whether Fastify's parser waits for more of the body, over HTTP/1: otherwise that is not known. */
  get isReadByParser(): boolean {
    const { raw } = this.request
    return !this.accessed && this.#active === undefined && raw.complete === false && raw.httpVersionMajor === 1
  }

  /**
   * The exchange is over. Contexts that were opened end, in the order of the filters.
   *
   * @param aborted the response is not complete: the client left
   */
  close(aborted: boolean): void {
    if (this.closed) return
    this.progress = Progress.Closed
    if (this.#responseHeaders !== undefined) this.#responseHeaders.writable = false
    if (this.#requestHeaders !== undefined) this.#requestHeaders.writable = false
    if (aborted) this.onAbort?.()
    for (const context of this.#contexts) {
      if (context === undefined) continue
      context.end(aborted)
      // What it asks for later is what is true now.
      if (context.pending) void this.duration
    }
    this.plan.leave()
  }

  #wake(): void {
    if (this.#active !== undefined) this.#active.wake()
    else if (this.progress === Progress.Request) queueMicrotask(() => this.#interrupt(this))
    else this.onInterrupt?.()
  }
}

function hasBody(raw: FastifyRequest['raw']): boolean {
  if (raw.httpVersionMajor === 2) {
    const { stream } = raw as unknown as { stream?: { endAfterHeaders?: boolean } }
    return stream?.endAfterHeaders === false
  }
  const { rawHeaders } = raw
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') return true
    if (name.length === 14 && name.toLowerCase() === 'content-length') return rawHeaders[i + 1] !== '0'
  }
  return false
}
