import { GrowingBytes } from '../growing-bytes.ts'
import { queueMicrotask } from '../real-time.ts'
import { Action, StreamType } from './abi/constants.ts'
import { Context } from './context.ts'
import type { Callback } from './instance.ts'
import type { PluginContext } from './plugin-context.ts'
import type { Body, Stream } from './stream.ts'

/** How a phase of one filter ended. */
export const Outcome = {
  /** On to the next filter. */
  Continue: 0,
  /** A filter answered, or reset the exchange: `Stream.interrupted`. Or the exchange is over: the client left. */
  Stop: 1,
  /** The filter failed; its instance is gone. */
  Failed: 2,
  /** The filter keeps what it has of a body, and sees it again with what follows. */
  Hold: 3
} as const
export type Outcome = (typeof Outcome)[keyof typeof Outcome]

/** A phase that had nothing to wait for ends at once, without a promise. */
export type Pending<T> = T | Promise<T>

/**
 * An HTTP context: one filter in one exchange. Its phases call into the module and end when the filter lets the exchange
 * go on: at once, or when the `Pause` that it returned is resumed, or, with APISIX's semantics, when the http calls that it
 * dispatched are answered.
 */
export class HttpContext extends Context {
  readonly root: PluginContext
  declare readonly stream: Stream
  /** What buffer 0 and 1 are, in the body callbacks and while paused from them. */
  requestBody: Body | undefined
  responseBody: Body | undefined
  /** Whether the filter asked for the body, by APISIX's properties `wasm_process_req_body` and `wasm_process_resp_body`. */
  wantsRequestBody = false
  wantsResponseBody = false
  /** Takes the part of the response body that the filter lets go of when it is resumed between two chunks. */
  released: ((body: Body) => void) | undefined
  /** Bytes of headers that it has written one by one. */
  headerBytes = 0
  /** The http calls of this context that are not answered yet. */
  #calls = 0
  /** Those among them that were dispatched since the last phase ended: the phase under way waits for no others. */
  #phaseCalls = 0
  /** How many phases have ended. */
  #phase = 0
  /** The direction of the phase that is under way, or was the last. */
  #direction: number = StreamType.HttpRequest
  #inHeaders = false
  /** Whether a pause of the callback under way keeps the chunk, and the next call sees it again. */
  #mayHold = false
  #held: Body | undefined
  /** What of it is, when the callback that kept it has returned. */
  #heldBytes: Buffer | undefined
  /** Where chunks are put behind each other while they are held. */
  #gathered: GrowingBytes | undefined
  #paused = false
  #resumed = false
  #settle: (() => void) | undefined
  /** Gone from the module, but its id is not free: an answer is to come. */
  #deletedWithCalls = false

  constructor(root: PluginContext, id: number, stream: Stream) {
    super(root.instance, id, stream)
    this.root = root
  }

  create(): void {
    const { instance } = this
    instance.contexts.add(this)
    const { proxy_on_context_create } = instance.callbacks
    if (proxy_on_context_create !== undefined) {
      instance.call(this, 'proxy_on_context_create', proxy_on_context_create, this.id, this.root.id)
    }
  }

  /** Whether a phase waits: for a resume, or for calls. */
  get waits(): boolean {
    return this.#settle !== undefined
  }

  get failed(): boolean {
    return this.instance.failure !== undefined
  }

  /**
   * Whether the filter is to be called with the request body: with APISIX's semantics when it asked for it, an empty one
   * too; with Envoy's when there is one.
   */
  takesRequestBody(hasBody: boolean): boolean {
    if (this.instance.callbacks.proxy_on_request_body === undefined) return false
    return this.wantsRequestBody || (this.isEnvoy && hasBody)
  }

  /** The same for the response body. */
  takesResponseBody(hasBody: boolean): boolean {
    if (this.instance.callbacks.proxy_on_response_body === undefined) return false
    return this.wantsResponseBody || (this.isEnvoy && hasBody)
  }

  get isEnvoy(): boolean {
    return this.instance.settings.semantics === 'envoy'
  }

  /** @param endOfStream whether no body follows */
  requestHeaders(endOfStream: boolean): Pending<Outcome> {
    const callback = this.instance.callbacks.proxy_on_request_headers
    this.#inHeaders = true
    const count = callback === undefined ? 0 : this.stream.requestHeaders.size
    return this.#run('proxy_on_request_headers', callback, StreamType.HttpRequest, count, endOfStream)
  }

  /**
   * @param body the whole body, which the filter may change; when it fails, what it was
   * @param endOfStream whether no trailers follow
   */
  requestBodyPhase(body: Body, endOfStream: boolean = true): Pending<Outcome> {
    this.requestBody = body
    this.#inHeaders = false
    const callback = this.instance.callbacks.proxy_on_request_body
    const { bytes, changed } = body
    const outcome = this.#run('proxy_on_request_body', callback, StreamType.HttpRequest, bytes.length, endOfStream)
    return this.#after(outcome, (failed) => {
      this.requestBody = undefined
      if (failed) Object.assign(body, { bytes, changed, limit: undefined })
    })
  }

  get takesRequestTrailers(): boolean {
    return this.instance.callbacks.proxy_on_request_trailers !== undefined
  }

  requestTrailers(): Pending<Outcome> {
    const callback = this.instance.callbacks.proxy_on_request_trailers
    this.#inHeaders = false
    const count = this.stream.requestTrailers.size
    return this.#run('proxy_on_request_trailers', callback, StreamType.HttpRequest, count, true)
  }

  /** @param endOfStream whether no body follows */
  responseHeaders(endOfStream: boolean): Pending<Outcome> {
    const callback = this.instance.callbacks.proxy_on_response_headers
    this.#inHeaders = true
    const count = callback === undefined ? 0 : this.stream.responseHeaders.size
    return this.#run('proxy_on_response_headers', callback, StreamType.HttpResponse, count, endOfStream)
  }

  /**
   * @param chunk what has come of the body since the last call, which the filter may change; when it fails, what it was,
   *   with what it has held
   * @param endOfStream whether it is the last
   */
  responseBodyPhase(chunk: Body, endOfStream: boolean): Pending<Outcome> {
    if (this.#held !== undefined) {
      // What it has changed of it in a callback that has failed, it has not.
      const held = this.failed ? this.#heldBytes! : this.#held.bytes
      chunk.bytes = this.#gather(held, chunk.bytes)
      chunk.limit = this.failed ? undefined : this.#held.limit
    }
    this.#held = undefined
    this.responseBody = chunk
    this.#inHeaders = false
    this.#mayHold = this.isEnvoy && !endOfStream
    const callback = this.instance.callbacks.proxy_on_response_body
    const { bytes, changed } = chunk
    const outcome = this.#run('proxy_on_response_body', callback, StreamType.HttpResponse, bytes.length, endOfStream)
    this.#mayHold = false
    if (outcome === Outcome.Hold) {
      this.#held = chunk
      this.#heldBytes = chunk.bytes
      return outcome
    }
    return this.#after(outcome, (failed) => {
      this.responseBody = undefined
      if (failed) Object.assign(chunk, { bytes, changed, limit: undefined })
    })
  }

  /** The trailers are on their way: a pause cannot hold them, and a response cannot be put in their place. */
  responseTrailers(): void {
    const { instance } = this
    const { proxy_on_response_trailers } = instance.callbacks
    if (proxy_on_response_trailers === undefined || instance.failure !== undefined || this.ended) return
    const count = this.stream.responseTrailers.size
    instance.call(this, 'proxy_on_response_trailers', proxy_on_response_trailers, this.id, count)
  }

  /**
   * The exchange is over: done, log, delete.
   *
   * @param aborted the client left: outstanding calls of this context are aborted, and answered as failed before the end
   */
  end(aborted: boolean): void {
    if (this.ended) return
    this.ended = true
    if (aborted) this.instance.calls.abort(this)
    this.finish()
    this.wake()
  }

  /** `proxy_continue_stream`: also before the pause that it ends is returned. */
  resume(direction: number): void {
    if (direction !== this.#direction) return
    this.#resumed = true
    // What the filter still does in this callback counts.
    if (this.#held !== undefined) queueMicrotask(() => this.#release())
    else this.wake()
  }

  /** Ends the wait of the phase that is under way, if there is one; how it ended is found out afterwards. */
  wake(): void {
    const settle = this.#settle
    this.#settle = undefined
    settle?.()
  }

  /** @returns which phase may wait for the call, for `callAnswered` */
  callDispatched(): number {
    this.#calls++
    this.#phaseCalls++
    return this.#phase
  }

  /** A stream of gRPC: no phase waits for it. Its end is an answer, to no phase. */
  streamOpened(): void {
    this.#calls++
  }

  callAnswered(phase: number): void {
    this.#calls--
    if (phase === this.#phase) {
      this.#phaseCalls--
      if (this.#phaseCalls === 0 && !this.#paused) this.wake()
    }
    if (this.#calls === 0 && this.#deletedWithCalls) this.root.freeId(this.id)
  }

  #run(name: string, callback: Callback | undefined, direction: number, size: number, endOfStream: boolean) {
    const { instance } = this
    // A request that has passed does not miss what has no callback, where the instance has failed for another one.
    const isMissed = callback !== undefined || direction === StreamType.HttpRequest
    if (instance.failure !== undefined && isMissed) return Outcome.Failed
    if (this.ended) return Outcome.Stop
    if (callback === undefined) return Outcome.Continue
    this.#direction = direction
    this.#resumed = false
    const action = instance.call(this, name, callback, this.id, size, endOfStream ? 1 : 0)
    // C++ may answer 2, "continue and end the stream", which Envoy takes for Continue; whatever else is no Continue pauses.
    this.#paused = action !== Action.Continue && !(action === Action.EndStream && this.#inHeaders)
    if (this.#paused && action === Action.Pause && this.#goesOnToBody(direction, endOfStream)) return this.#outcome()
    const waits = !this.#resumed && (this.#paused || (this.#phaseCalls > 0 && !this.isEnvoy))
    if (waits && this.#mayHold && !this.failed && !this.stream.interrupted) return Outcome.Hold
    if (!waits || this.failed || this.stream.interrupted) return this.#outcome()
    return new Promise<void>((resolve) => {
      this.#settle = resolve
    }).then(() => this.#outcome())
  }

  /** A module of Higress pauses in its headers callback until it has seen the body: its body callback decides. */
  #goesOnToBody(direction: number, endOfStream: boolean): boolean {
    if (!this.instance.module.pausesBeforeBody || !this.#inHeaders || endOfStream) return false
    if (direction === StreamType.HttpRequest) {
      this.wantsRequestBody = true
      return this.takesRequestBody(true)
    }
    this.wantsResponseBody = true
    return this.takesResponseBody(true)
  }

  /** A chunk behind what is held. */
  #gather(held: Buffer, chunk: Buffer): Buffer {
    // The filter has changed what is held, or it is the first.
    if (this.#gathered?.bytes !== held) {
      this.#gathered = new GrowingBytes()
      this.#gathered.add(held)
    }
    this.#gathered.add(chunk)
    return this.#gathered.bytes
  }

  /** The filter lets go of what it holds of the response body, between two chunks. */
  #release(): void {
    const held = this.#held
    if (held === undefined) return
    this.#held = undefined
    this.responseBody = undefined
    if (this.failed) Object.assign(held, { bytes: this.#heldBytes, limit: undefined })
    this.released?.(held)
  }

  #outcome(): Outcome {
    this.#phase++
    this.#phaseCalls = 0
    if (this.failed) return Outcome.Failed
    return this.stream.interrupted || this.ended ? Outcome.Stop : Outcome.Continue
  }

  #after(outcome: Pending<Outcome>, clear: (failed: boolean) => void): Pending<Outcome> {
    if (typeof outcome === 'number') {
      clear(outcome === Outcome.Failed)
      return outcome
    }
    return outcome.then((settled) => {
      clear(settled === Outcome.Failed)
      return settled
    })
  }

  protected override beforeDelete(): void {
    const { proxy_on_log } = this.instance.callbacks
    if (proxy_on_log !== undefined) this.instance.call(this, 'proxy_on_log', proxy_on_log, this.id)
    this.instance.calls.grpc.abortStreams(this)
  }

  protected afterDelete(): void {
    // It may have opened one in proxy_on_delete.
    this.instance.calls.grpc.abortStreams(this)
    // The SDKs know whose answer it is by the id: while one is to come, the id must not be another exchange's.
    if (this.#calls === 0) this.root.freeId(this.id)
    else this.#deletedWithCalls = true
    this.root.httpContextEnded()
  }
}
