import { FST_WASM_EXCHANGE_STALLED } from '../errors.ts'
import { isHopByHop } from '../gateway/hop-by-hop.ts'
import type { HttpContext } from '../host/index.ts'
import type { FilterAction, TestRun } from './exchange-run.ts'
import type { RecordedGrpcCall } from './grpc-upstreams.ts'
import type { RecordedHttpCall } from './http-upstreams.ts'
import type { LogLine } from './log-lines.ts'
import { headersOf, type SeenRequest, type SeenResponse } from './message.ts'
import type { MetricValue } from './stores.ts'

/** A response that a filter has given in place of the upstream. */
export interface LocalReply {
  /** The filter's name; `''` where none was at work on the exchange */
  readonly filter: string
  readonly status: number
  readonly headers: Record<string, string | string[]>
  readonly body: string
  /** For the log, never for the client */
  readonly details: string
  /** −1: none */
  readonly grpcStatus: number
}

/** What an exchange waits for. */
export interface Waiting {
  /** The name of the filter that holds it; `''`: none, it is the response that has not come */
  readonly filter: string
  /** The callback that has paused: `proxy_on_request_headers`; `''` for a response that has not come */
  readonly callback: string
  /** In words */
  readonly what: string
}

/** One request and its response: what filters have made of them so far, and when it is over, in the end. */
export class Exchange {
  readonly #run: TestRun

  /** @internal */
  constructor(run: TestRun) {
    this.#run = run
  }

  /** As the filters let it go on: to the application, or to the upstream. */
  get request(): SeenRequest {
    const { stream } = this.#run
    const { requestHeaders, requestBody, sentBody, requestTrailers } = stream
    const bytes = requestBody?.bytes ?? sentBody
    const headers = headersOf(requestHeaders.entries())
    for (const name of Object.keys(headers)) if (isHopByHop(name)) delete headers[name]
    // The length is that of the body, whatever a filter says.
    if (bytes.length > 0) headers['content-length'] = String(bytes.length)
    return {
      method: requestHeaders.get(':method')!,
      path: requestHeaders.get(':path')!,
      scheme: requestHeaders.get(':scheme')!,
      authority: requestHeaders.get(':authority')!,
      headers,
      body: bytes.toString(),
      bytes,
      trailers: headersOf(requestTrailers.entries())
    }
  }

  /** As the client has received it. */
  get response(): SeenResponse {
    const { stream, chunks, hasResponse } = this.#run
    const { responseHeaders, responseTrailers } = stream
    const bytes = Buffer.concat(chunks)
    const headers = headersOf(responseHeaders.entries())
    for (const name of Object.keys(headers)) if (isHopByHop(name)) delete headers[name]
    return {
      status: hasResponse ? Number(responseHeaders.get(':status')) : 0,
      headers,
      body: bytes.toString(),
      bytes,
      chunks,
      trailers: headersOf(responseTrailers.entries())
    }
  }

  /** Whether the request has passed all filters. */
  get forwarded(): boolean {
    return this.#run.forwarded
  }

  /** Whether it has ended without a response, or in the midst of one. */
  get aborted(): boolean {
    return this.#run.aborted
  }

  /** The response that a filter has given, the last one where several have. */
  get localReply(): LocalReply | undefined {
    return this.#run.localReply
  }

  /** What the callbacks for headers, bodies and trailers have answered, in order. */
  get actions(): readonly FilterAction[] {
    return this.#run.actions
  }

  /** What was logged on behalf of this exchange. */
  get logs(): readonly LogLine[] {
    return this.#run.logs
  }

  /** The http calls that were made on its behalf. */
  get calls(): readonly RecordedHttpCall[] {
    return this.#run.calls
  }

  /** The gRPC calls and streams that were. */
  get grpcCalls(): readonly RecordedGrpcCall[] {
    return this.#run.grpcCalls
  }

  /** All metrics of the filters, as they are now, or were when the exchange was over. */
  get metrics(): Readonly<Record<string, MetricValue>> {
    return this.#run.metrics
  }

  /** What the filters have set with `proxy_set_property`, segments joined by dots. */
  get properties(): Record<string, string> {
    const { set } = this.#run.stream
    return Object.fromEntries([...set].map(([path, value]) => [path.replaceAll('\0', '.'), value.toString()]))
  }

  /** Of filters with `fail: 'open'`, why they failed. */
  get failures(): readonly Error[] {
    return this.#run.failures
  }

  /** What it waits for; `undefined` when it is over. */
  get waitsFor(): Waiting | undefined {
    const { isOver, stream, name } = this.#run
    if (isOver) return undefined
    const { active } = stream
    const filter = active === undefined ? '' : active.instance.settings.name
    const callback = active === undefined ? '' : (this.#run.actions.at(-1)?.callback ?? '')
    const works = this.#run.atWork(filter)
    if (active === undefined) {
      const what = stream.responding ? 'the rest of the response body' : 'the response'
      return { filter, callback, what: `${name} waits for ${what}` }
    }
    const reason = works.length > 0 ? `for ${works.join(', and for ')}` : pausedFor(active)
    return { filter, callback, what: `${name} waits in ${callback} of [${filter}] ${reason}` }
  }

  /**
   * Resolves when the exchange is over.
   *
   * @throws FST_WASM_EXCHANGE_STALLED when it waits for what does not come: it has ended then, as if the client had left.
   *   FST_WASM_TRAP when a filter has failed; what a fake has thrown
   */
  async finish(): Promise<this> {
    const run = this.#run
    const isStalled = await run.untilOver()
    if (isStalled) {
      const { what } = this.waitsFor!
      run.abort()
      throw new FST_WASM_EXCHANGE_STALLED(what)
    }
    // A fake has thrown while it waited.
    if (!run.isOver) run.abort()
    run.throwFailure()
    return this
  }

  /** The client leaves: what is under way is aborted, and the filters are told that the exchange is over. */
  async abort(): Promise<this> {
    this.#run.abort()
    await this.#run.settle()
    this.#run.throwFailure()
    return this
  }
}

function pausedFor({ root, instance }: HttpContext): string {
  const tick = root.nextTick === undefined ? 'it has set no tick' : 'a tick might resume it: begin(), tick(), finish()'
  const { size } = instance.calls
  return `to be resumed; it has ${size === 0 ? 'no call' : `${size} calls`} under way, and ${tick}`
}
