import { Readable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { validate } from '../config/validate.ts'
import { FST_WASM_RESPONSE_ENDED } from '../errors.ts'
import { within } from '../gateway/filter-phase.ts'
import { errorResponse, messageOf } from '../gateway/local-message.ts'
import { runRequestPhase } from '../gateway/request-phase.ts'
import { filterBuffer, filterStream } from '../gateway/response-body.ts'
import { type CallbackMessage, type LocalResponse, Outcome } from '../host/index.ts'
import type { Chain } from './chain.ts'
import type { LocalReply } from './exchange.ts'
import type { RecordedGrpcCall } from './grpc-upstreams.ts'
import type { RecordedHttpCall } from './http-upstreams.ts'
import { type LogLine, withLines } from './log-lines.ts'
import { type Bytes, bytesOf, headersOf, pairsOf, type ResponseInput, type SeenRequest } from './message.ts'
import { ResponseInput as ResponseSchema } from './schema.ts'
import type { MetricValue } from './stores.ts'
import type { TestStream } from './test-stream.ts'

/** What a callback for headers, bodies or trailers has answered. */
export interface FilterAction {
  /** The filter's name */
  readonly filter: string
  /** As the specification calls it: `proxy_on_request_headers` */
  readonly callback: string
  /** The number, where it is neither */
  readonly action: 'Continue' | 'Pause' | number
  /** How many headers, or bytes of the body, there were */
  readonly size: number
  readonly endOfStream: boolean
}

const ACTIONS = new Set([
  'proxy_on_request_headers',
  'proxy_on_request_body',
  'proxy_on_request_trailers',
  'proxy_on_response_headers',
  'proxy_on_response_body',
  'proxy_on_response_trailers'
])

type Body = Buffer | Readable

const ANSWERED = Symbol('answered')

/** Runs one exchange through a chain of filters, as the gateway does. */
export class TestRun {
  readonly name: string
  readonly stream: TestStream
  readonly logs: readonly LogLine[]
  readonly actions: FilterAction[] = []
  readonly calls: RecordedHttpCall[] = []
  readonly grpcCalls: RecordedGrpcCall[] = []
  readonly chunks: Buffer[] = []
  readonly failures: Error[] = []
  forwarded = false
  aborted = false
  hasResponse = false
  localReply: LocalReply | undefined
  /** What has failed: it is thrown to whoever waits for the end. */
  failure: unknown
  isOver = false
  /** Ends what a fake of its own has under way: its response, or the body of that. */
  #release: (() => void) | undefined
  readonly #chain: Chain
  readonly #response: ResponseInput | ((request: SeenRequest) => ResponseInput | Promise<ResponseInput>)
  readonly #request: () => SeenRequest
  /** How much all had logged when it began. */
  readonly #logged: number
  #metrics: Record<string, MetricValue> | undefined

  constructor(
    chain: Chain,
    name: string,
    stream: TestStream,
    logs: readonly LogLine[],
    response: ResponseInput | ((request: SeenRequest) => ResponseInput | Promise<ResponseInput>),
    request: () => SeenRequest
  ) {
    this.name = name
    this.stream = stream
    this.logs = logs
    this.#chain = chain
    this.#response = response
    this.#request = request
    this.#logged = chain.logs.length
  }

  get metrics(): Record<string, MetricValue> {
    return this.#metrics ?? this.#chain.metrics
  }

  /** A callback of a filter has returned. */
  called({ plugin, callback, result, error, parameters: [size = 0, last] }: CallbackMessage): void {
    if (!ACTIONS.has(callback) || error !== undefined) return
    const action: FilterAction['action'] = result === 0 ? 'Continue' : result === 1 ? 'Pause' : Number(result)
    const endOfStream = callback.endsWith('trailers') || last === 1
    this.actions.push({ filter: plugin, callback, action, size, endOfStream })
  }

  /** What fakes have under way for a filter that this exchange may wait for. */
  atWork(filter: string): string[] {
    return this.#chain.atWork(filter, this)
  }

  settle(): Promise<void> {
    return this.#chain.settle()
  }

  /** Runs until it is over; what fails is kept. */
  async start(): Promise<void> {
    try {
      await this.#requestPhases()
    } catch (error) {
      this.failure ??= error
    }
    this.#end(this.aborted || this.failure !== undefined)
  }

  /** Resolves with whether it waits for what does not come, when it is over or that is known. */
  untilOver(): Promise<boolean> {
    return this.#chain.untilOver(() => this.isOver)
  }

  abort(): void {
    if (this.isOver) return
    this.aborted = true
    this.#end(true)
  }

  throwFailure(): void {
    this.#chain.throwFailure()
    if (this.failure !== undefined) throw this.failure
  }

  async #requestPhases(): Promise<void> {
    const { stream } = this
    for (const indexes of [stream.plan.rewrite, stream.plan.access]) {
      if (stream.requestBody !== undefined) stream.requestBody.changed = false
      let outcome: Outcome
      try {
        outcome = await runRequestPhase(stream, indexes)
      } catch (error) {
        const { statusCode } = error as { statusCode?: number }
        if (statusCode !== 413) throw error
        return this.#respond(errorResponse(error as Error & { statusCode: number }))
      }
      if (stream.closed) return
      if (outcome !== Outcome.Continue) return this.#respondInstead(outcome)
      if (stream.requestBody?.changed) {
        stream.requestHeaders.replace('content-length', String(stream.requestBody.bytes.length))
        stream.requestHeaders.remove('transfer-encoding')
      }
    }
    this.forwarded = true
    const response = await this.#upstreamResponse()
    if (stream.closed) return
    if (response === ANSWERED) return this.#respondInstead(Outcome.Stop)
    validate(ResponseSchema, response, 'response')
    const { status = 200, headers, body, trailers } = response
    const pairs = pairsOf(headers, 'response.headers')
    const payload = bodyOf(body)
    const hasLength = pairs.some((text, i) => i % 2 === 0 && text === 'content-length')
    if (Buffer.isBuffer(payload) && !hasLength) pairs.push('content-length', String(payload.length))
    stream.responseHeaders.begin(status, pairs, false)
    await this.#responsePhases(payload, pairsOf(trailers, 'response.trailers'))
  }

  /** What the application or the upstream answers, unless a filter has answered meanwhile. */
  async #upstreamResponse(): Promise<ResponseInput | typeof ANSWERED> {
    const { stream } = this
    const response = this.#response
    if (typeof response !== 'function') return response
    this.#release = this.#chain.working('', 'the response', this)
    const answered = new Promise<typeof ANSWERED>((resolve) => {
      stream.onEarlyAnswer = () => resolve(ANSWERED)
    })
    try {
      return await Promise.race([response(this.#request()), answered])
    } finally {
      this.#release()
      stream.onEarlyAnswer = undefined
    }
  }

  /** A filter has answered, reset or failed before there was a response. */
  async #respondInstead(outcome: Outcome): Promise<void> {
    if (this.stream.wasReset) {
      this.aborted = true
      return
    }
    await this.#respond(this.#takeResponse(outcome))
  }

  async #respond(response: LocalResponse): Promise<void> {
    await this.#responsePhases(this.#begin(response, false), [])
  }

  /** What the filter has answered. @throws why it has failed */
  #takeResponse(outcome: Outcome): LocalResponse {
    const { stream } = this
    const local = stream.takeLocalResponse()
    if (outcome === Outcome.Failed) throw this.#whyFailed()
    const { answeredBy } = stream
    const response = local ?? errorResponse(new FST_WASM_RESPONSE_ENDED())
    stream.responseDetails = response.details
    this.localReply = {
      filter: stream.opened(answeredBy)?.instance.settings.name ?? '',
      status: response.status,
      headers: headersOf(response.headers),
      body: response.body.toString(),
      details: response.details,
      grpcStatus: response.grpcStatus
    }
    return response
  }

  #whyFailed(): Error {
    const { stream } = this
    const name = stream.plan.filters[stream.answeredBy]!.plugin.name
    // Without a context it has not even started, and the log says why.
    const started = stream.opened(stream.answeredBy)?.instance.failure ?? this.#chain.lastError(name)
    return started === undefined ? stream.failure! : withLines(started, this.#lines, name)
  }

  /** Begins a response of a filter; answers its body. */
  #begin(response: LocalResponse, fresh: boolean): Buffer {
    const { stream } = this
    const { status, headers, body } = messageOf(response, stream.requestHeaders.get('content-type'))
    const pairs = [...headers].flatMap(([name, values]) => values.flatMap((value) => [name, value]))
    pairs.push('content-length', String(body.length))
    stream.responseHeaders.begin(status, pairs, fresh)
    return body
  }

  async #responsePhases(given: Body, trailers: readonly string[]): Promise<void> {
    const { stream } = this
    stream.beginResponse()
    let body = given
    let endOfStream = isEmpty(body) || this.#isBodyless
    for (let i = 0; i < stream.plan.filters.length; i++) {
      if (stream.isOut(i)) continue
      const outcome = await within(stream, i, (context, end) => context.responseHeaders(end), endOfStream)
      if (stream.closed) return
      if (outcome === Outcome.Continue) continue
      discard(body)
      if (stream.wasReset) {
        this.aborted = true
        return
      }
      body = this.#begin(this.#takeResponse(outcome), true)
      endOfStream = body.length === 0 || this.#isBodyless
    }
    this.hasResponse = true
    await this.#bodyPhases(body)
    if (stream.closed || this.aborted) return
    this.#trailerPhases(trailers)
  }

  async #bodyPhases(body: Body): Promise<void> {
    const { stream } = this
    const hasBody = !isEmpty(body) && !this.#isBodyless
    const indexes = stream.plan.filters.flatMap((_, i) =>
      !stream.isOut(i) && stream.opened(i)?.takesResponseBody(hasBody) === true ? [i] : []
    )
    const status = Number(stream.responseHeaders.get(':status'))
    if (this.#isBodyless) {
      discard(body)
      if (status === 204 || status === 304) stream.responseHeaders.dropDescription()
      else if (indexes.length > 0) stream.responseHeaders.setLength(undefined)
      return
    }
    if (indexes.length > 0) stream.responseHeaders.setLength(undefined)
    if (!Buffer.isBuffer(body)) return this.#streamPhases(body, indexes)
    const filtered = indexes.length === 0 ? body : await filterBuffer(stream, indexes, body)
    if (Buffer.isBuffer(filtered)) return this.#whole(filtered)
    if (stream.closed) return
    if (stream.wasReset) this.aborted = true
    else this.#whole(this.#begin(this.#takeResponse(filtered), true))
  }

  /** A body that is there as a whole. */
  #whole(body: Buffer): void {
    this.stream.responseHeaders.setLength(body.length)
    if (body.length > 0) this.chunks.push(body)
  }

  async #streamPhases(body: Readable, indexes: readonly number[]): Promise<void> {
    const { stream } = this
    let replacement: LocalResponse | undefined
    const refuse = (_: TestStream, outcome: Outcome): Error => {
      try {
        const response = this.#takeResponse(outcome)
        if (stream.wasReset || stream.headSent) this.aborted = true
        else replacement = response
      } catch (error) {
        this.failure ??= error
      }
      return new FST_WASM_RESPONSE_ENDED()
    }
    const filtered = indexes.length === 0 ? body : (filterStream(stream, indexes, body, refuse) as Readable)
    const over = this.#chain.working('', 'the rest of the response body', this)
    this.#release = () => {
      over()
      discard(filtered)
    }
    try {
      // Not by iteration, which would put chunks together.
      filtered.on('data', (chunk: Buffer) => {
        stream.headSent = true
        this.chunks.push(chunk)
        this.#chain.active()
      })
      await finished(filtered)
    } catch (error) {
      if (replacement === undefined && !this.aborted && !stream.closed) throw error
    } finally {
      over()
    }
    if (replacement !== undefined) this.#whole(this.#begin(replacement, true))
  }

  #trailerPhases(trailers: readonly string[]): void {
    const { stream } = this
    for (let i = 0; i < trailers.length; i += 2) stream.responseTrailers.add(trailers[i]!, trailers[i + 1]!)
    if (stream.responseTrailers.size === 0) return
    for (const [i, context] of stream.contexts.entries()) if (!stream.isOut(i)) context?.responseTrailers()
  }

  get #lines(): readonly LogLine[] {
    return this.#chain.logs.slice(this.#logged)
  }

  get #isBodyless(): boolean {
    const { requestHeaders, responseHeaders } = this.stream
    const status = responseHeaders.get(':status')
    return requestHeaders.get(':method') === 'HEAD' || status === '204' || status === '304'
  }

  #end(aborted: boolean): void {
    if (this.isOver) return
    const { stream } = this
    stream.close(aborted, this.#chain.milliseconds)
    this.#release?.()
    this.isOver = true
    for (const [i, context] of stream.contexts.entries()) {
      const failure = context?.instance.failure
      if (failure === undefined) continue
      if (stream.plan.failsOpen(i)) this.failures.push(failure)
      else this.failure ??= withLines(failure, this.#lines, context!.instance.settings.name)
    }
    this.#metrics = this.#chain.metrics
    this.#chain.active()
  }
}

function bodyOf(body: ResponseInput['body']): Body {
  if (!isStream(body)) return bytesOf(body, 'response.body')
  const chunks = async function* (): AsyncGenerator<Buffer> {
    for await (const chunk of body) yield bytesOf(chunk, 'a chunk of response.body')
  }
  return Readable.from(chunks())
}

function isStream(body: ResponseInput['body']): body is Iterable<Bytes> | AsyncIterable<Bytes> {
  if (typeof body !== 'object' || body === null || body instanceof Uint8Array) return false
  return Symbol.iterator in body || Symbol.asyncIterator in body
}

function isEmpty(body: Body): boolean {
  return Buffer.isBuffer(body) && body.length === 0
}

function discard(body: Body): void {
  if (!Buffer.isBuffer(body)) body.on('error', () => {}).destroy()
}
