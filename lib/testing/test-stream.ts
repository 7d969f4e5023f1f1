import type { FastifyRequest } from 'fastify'
import { FST_WASM_FILTER_FAILED, FST_WASM_REQUEST_BODY_TOO_LARGE } from '../errors.ts'
import type { DescribedExchange } from '../gateway/attributes.ts'
import type { FilteredExchange, Snapshot } from '../gateway/filter-phase.ts'
import type { Plan } from '../gateway/plan.ts'
import { builtInProperty } from '../gateway/properties.ts'
import { TrailerList } from '../gateway/trailer-list.ts'
import {
  type Body,
  HeaderList,
  type HttpContext,
  type LocalResponse,
  type Logger,
  Outcome,
  PropertyMap,
  type PropertyValue,
  type Stream
} from '../host/index.ts'
import { queueMicrotask } from '../real-time.ts'
import type { RequestInput } from './message.ts'
import { bytesOf, pairsOf } from './message.ts'
import { ResponseHeaders } from './response-headers.ts'

const PSEUDO_HEADERS = [':method', ':path', ':authority', ':scheme']
/** These Fastify finds by the route that it has matched, and here there is none. */
const OF_ROUTES = new Set(['route_name', 'xds\0route_name'])

class Trailers extends TrailerList {
  // The body of a test is over when it is over.
  wait(): void {}
  flush(): void {}
}

/** One request and its response, as its filters see them. */
export class TestStream implements Stream, FilteredExchange, DescribedExchange {
  readonly log: Logger
  readonly plan: Plan
  readonly request: FastifyRequest
  readonly requestHeaders: HeaderList
  readonly responseHeaders: ResponseHeaders = new ResponseHeaders()
  readonly requestTrailers: HeaderList
  readonly responseTrailers: Trailers = new Trailers([])
  readonly hasRequestBody: boolean
  readonly rawBody: { read(): Promise<Buffer> }
  readonly startedAt: number
  /** The body that came. */
  readonly sentBody: Buffer
  requestBody: Body | undefined
  duration: number | undefined
  responseDetails: string | undefined
  readonly upstreamNode: undefined
  onInterrupt: (() => void) | undefined
  /** Called when a filter answers or resets between two phases of the request. */
  onEarlyAnswer: (() => void) | undefined
  /** Whether the response has begun to pass. */
  responding = false
  /** Whether the head of the response is sent, and nothing can be put in its place. */
  headSent = false
  closed = false
  wasReset = false
  /** Why the last filter that failed did. */
  failure: Error | undefined
  /** Index of the filter that has answered or failed last. */
  answeredBy = -1
  /** What filters have set, by path. */
  set: PropertyMap = new PropertyMap()
  readonly #given: ReadonlyMap<string, PropertyValue>
  readonly #contexts: (HttpContext | undefined)[] = []
  readonly #out: boolean[] = []
  #local: LocalResponse | undefined
  #active: HttpContext | undefined

  /**
   * @param now milliseconds since the epoch
   * @throws FST_WASM_OPTIONS_INVALID
   */
  constructor(
    plan: Plan,
    input: RequestInput,
    properties: ReadonlyMap<string, PropertyValue>,
    id: string,
    now: number,
    log: Logger
  ) {
    const { method = 'GET', path = '/', scheme = 'http', authority = 'example.test', body } = input
    const pairs = pairsOf(input.headers, 'request.headers').filter((_, i, all) => all[i - (i % 2)] !== 'host')
    const bytes = bytesOf(body, 'request.body')
    const isFramed = pairs.some((text, i) => i % 2 === 0 && /^(?:content-length|transfer-encoding)$/.test(text))
    if (bytes.length > 0 && !isFramed) pairs.push('content-length', String(bytes.length))
    const host = input.headers?.host ?? input.headers?.Host
    const pseudo = [':method', method, ':path', path, ':authority', String(host ?? authority), ':scheme', scheme]
    this.log = log
    this.plan = plan
    this.startedAt = now
    this.sentBody = bytes
    this.hasRequestBody = bytes.length > 0
    this.requestHeaders = new HeaderList([...pseudo, ...pairs], PSEUDO_HEADERS)
    this.requestTrailers = new HeaderList(pairsOf(input.trailers, 'request.trailers'))
    this.request = requestOf(method, path, [...pairs], id)
    this.#given = properties
    this.rawBody = {
      async read() {
        if (plan.bodyLimit > 0 && bytes.length > plan.bodyLimit) {
          throw new FST_WASM_REQUEST_BODY_TOO_LARGE(plan.bodyLimit)
        }
        return bytes
      }
    }
  }

  get mayHaveTrailers(): boolean {
    return this.requestTrailers.size > 0
  }

  get interrupted(): boolean {
    return this.wasReset || this.#local !== undefined
  }

  takeLocalResponse(): LocalResponse | undefined {
    const response = this.#local
    this.#local = undefined
    return response
  }

  context(index: number): HttpContext | undefined {
    const context = this.#contexts[index] ?? this.plan.filters[index]!.open(this)
    this.#contexts[index] = context
    return context
  }

  opened(index: number): HttpContext | undefined {
    return this.#contexts[index]
  }

  get contexts(): readonly (HttpContext | undefined)[] {
    return this.#contexts
  }

  isOut(index: number): boolean {
    return this.#out[index] ?? false
  }

  enter(context: HttpContext): void {
    this.#active = context
  }

  /** Its request is there as a whole. */
  wait(): void {}

  leave(): void {
    this.#active = undefined
  }

  /** The context in whose phase the exchange is. */
  get active(): HttpContext | undefined {
    return this.#active
  }

  fail(index: number, failure?: Error, before?: Snapshot): typeof Outcome.Failed | typeof Outcome.Continue {
    this.#out[index] = true
    if (failure === undefined && this.plan.failsOpen(index)) {
      if (before !== undefined) this.#restore(before)
      return Outcome.Continue
    }
    this.answeredBy = index
    this.failure = failure ?? new FST_WASM_FILTER_FAILED(this.plan.filters[index]!.plugin.name)
    return Outcome.Failed
  }

  snapshot(): Snapshot {
    return {
      requestHeaders: [...this.requestHeaders.entries()],
      responseHeaders: [...this.responseHeaders.entries()],
      properties: this.set.copy(),
      interrupted: this.interrupted
    }
  }

  #restore({ requestHeaders, responseHeaders, properties, interrupted }: Snapshot): void {
    this.set = properties!
    if (this.requestHeaders.writable) this.requestHeaders.restore(requestHeaders)
    this.responseHeaders.restore(responseHeaders!)
    if (interrupted) return
    this.#local = undefined
    this.wasReset = false
  }

  getProperty(path: string): PropertyValue | undefined {
    const given = this.#given.get(path)
    if (given !== undefined) return given
    return (OF_ROUTES.has(path) ? undefined : builtInProperty(this, path)) ?? this.set.get(path)
  }

  setProperty(path: string, value: Buffer): boolean {
    return this.set.set(path, value)
  }

  sendLocalResponse(response: LocalResponse): void {
    if (this.interrupted) return
    if (this.closed || this.headSent) {
      this.log.warn({ details: response.details }, 'a filter wanted to respond when the response had been sent')
      if (this.#active !== undefined || this.onInterrupt !== undefined) this.reset()
      return
    }
    this.#local = response
    this.answeredBy = this.#active === undefined ? -1 : this.#contexts.indexOf(this.#active)
    this.#wake()
  }

  reset(): void {
    if (this.interrupted || this.closed) return
    this.wasReset = true
    this.#wake()
  }

  beginResponse(): void {
    this.responding = true
    this.requestHeaders.writable = false
  }

  /** @param aborted the response is not complete: the client left */
  close(aborted: boolean, now: number): void {
    if (this.closed) return
    this.closed = true
    this.duration = now - this.startedAt
    this.requestHeaders.writable = false
    this.responseHeaders.writable = false
    for (const context of this.#contexts) context?.end(aborted)
  }

  #wake(): void {
    if (this.#active !== undefined) this.#active.wake()
    else if (!this.responding) queueMicrotask(() => this.onEarlyAnswer?.())
    else this.onInterrupt?.()
  }
}

/** What properties read of a request of Fastify. */
function requestOf(method: string, url: string, rawHeaders: string[], id: string): FastifyRequest {
  const headers = Object.fromEntries(rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [[name, rawHeaders[i + 1]]] : [])))
  const socket = { remoteAddress: '127.0.0.1', remotePort: 50000, localAddress: '127.0.0.1', localPort: 80 }
  const raw = { method, url, headers, rawHeaders, httpVersion: '1.1', httpVersionMajor: 1, socket }
  return { id, ip: socket.remoteAddress, originalUrl: url, raw } as unknown as FastifyRequest
}
