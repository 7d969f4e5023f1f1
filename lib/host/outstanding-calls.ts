import { CallCounts } from './call-counts.ts'
import type { Context } from './context.ts'
import { HttpContext } from './http-context.ts'
import type { Instance } from './instance.ts'
import { type HttpCallMessage, httpCallChannel, tellEnd, tellStart } from './observer.ts'
import { OutstandingGrpc } from './outstanding-grpc.ts'
import { NO_STATUS, type PluginContext } from './plugin-context.ts'
import { type CallResult, classOf } from './plugin-counts.ts'
import { Refusal } from './refusals.ts'
import type { HttpCall, HttpCallResponse } from './stream.ts'
import { passTraceOn } from './trace-context.ts'

interface OutstandingCall {
  readonly context: Context
  /** The HTTP context that made it, or in whose answer it was made. */
  readonly onBehalf: HttpContext | undefined
  /** The phase of the HTTP context that may wait for it. */
  readonly phase: number
  /** What it holds, in bytes, with what has come of its answer */
  size: number
  readonly abort: () => void
  /** For those who watch, if there are any */
  readonly message: HttpCallMessage | undefined
}

/** A call whose headers nobody else has. */
type OwnHttpCall = Omit<HttpCall, 'received'> & { readonly headers: string[] }

/** What Envoy answers for a call that has no response (BrokenConnection). */
const BROKEN_CONNECTION = 11

/**
 * The calls of one instance that are not answered yet: http calls, and those of gRPC. Their ids come from one
 * count, and none is another's while both are outstanding.
 */
export class OutstandingCalls {
  readonly grpc: OutstandingGrpc
  readonly #instance: Instance
  readonly #calls: Map<number, OutstandingCall> = new Map()
  readonly #counts: CallCounts
  readonly #refusal: Refusal = new Refusal()
  #lastId = 0

  constructor(instance: Instance) {
    this.#instance = instance
    this.#counts = new CallCounts(instance.limits.httpCalls)
    this.grpc = new OutstandingGrpc(instance, this.#counts, () => this.#takeId())
  }

  /** What is counted against the limits. */
  get usage(): CallCounts['usage'] {
    return this.#counts.usage
  }

  /**
   * Whether a context may make one more call of any kind. When not, that is warned of.
   *
   * @param size what it would hold, in bytes
   */
  admits(context: Context, size: number): boolean {
    if (this.#counts.hasRoom(context, size)) {
      this.#refusal.worked()
      return true
    }
    this.#instance.settings.counts?.httpCall('refused')
    const why = 'one more call is refused: too many are not answered yet, or they hold too much (limits.http_calls)'
    this.#refusal.refused(this.#instance.settings, why)
    return false
  }

  get size(): number {
    return this.#calls.size + this.grpc.size
  }

  /** Whether it is the id of an http call. */
  has(id: number): boolean {
    return this.#calls.has(id)
  }

  /**
   * Sends a call on behalf of a context that may make one more; an HTTP context waits for it.
   *
   * @param size what it holds, in bytes
   * @returns the id of the call; `undefined` when it cannot be sent anywhere
   */
  dispatch(context: Context, call: OwnHttpCall, size: number): number | undefined {
    const onBehalf = context instanceof HttpContext ? context : this.#instance.answered
    const { name: plugin, observer } = this.#instance.settings
    if (observer === undefined && !httpCallChannel.hasSubscribers) {
      return this.#send(context, onBehalf, call, size, undefined)
    }
    const { upstream, headers } = call
    const request = onBehalf?.stream.request
    const message = { plugin, context: context.id, rootContext: context.root.id, request, upstream, headers }
    observer?.httpCallStarts?.(message)
    return tellStart(
      httpCallChannel,
      message,
      () => this.#send(context, onBehalf, call, size, message),
      () => this.#ended(message, new Error('there is nothing of that name to call'))
    )
  }

  #send(
    context: Context,
    onBehalf: HttpContext | undefined,
    call: OwnHttpCall,
    size: number,
    message: HttpCallMessage | undefined
  ): number | undefined {
    const id = this.#takeId()
    const { settings } = this.#instance
    if (onBehalf !== undefined) passTraceOn(onBehalf.stream.requestHeaders, call.headers)
    const received = (bytes: number) => this.#received(id, bytes)
    const abort = settings.httpCalls.dispatch({ ...call, received }, (response, reason) => {
      this.#answer(id, response, reason)
    })
    if (abort === undefined) {
      settings.counts?.httpCall('refused')
      return undefined
    }
    const phase = context instanceof HttpContext ? context.callDispatched() : 0
    this.#calls.set(id, { context, onBehalf, phase, size, abort, message })
    this.#counts.add(context, size)
    return id
  }

  #received(id: number, bytes: number): boolean {
    const call = this.#calls.get(id)
    return call !== undefined && this.#counts.grow(call, bytes)
  }

  /** Aborts what a context has under way, and answers it as failed: the SDKs keep an entry for every id. */
  abort(context: HttpContext): void {
    // A copy: a filter that calls again when a call failed must not keep this loop going.
    for (const [id, call] of [...this.#calls]) {
      // When the module traps at an answer, the others have been cancelled.
      if (call.context !== context || !this.#calls.has(id)) continue
      call.abort()
      this.#answer(id, undefined, 'the client left', 'aborted')
    }
    this.grpc.abortCalls(context)
  }

  /** Aborts what a plugin context and its HTTP contexts have under way, without an answer. */
  cancel(root: PluginContext): void {
    for (const [id, call] of this.#calls) {
      if (call.context.root === root) this.#cancel(id, call)
    }
    this.grpc.cancelOf(root)
  }

  cancelAll(): void {
    for (const [id, call] of this.#calls) this.#cancel(id, call)
    this.grpc.cancelAll()
  }

  #cancel(id: number, call: OutstandingCall): void {
    this.#remove(id, call)
    call.abort()
    this.#instance.settings.counts?.httpCall('aborted')
    if (call.message !== undefined) this.#ended(call.message, new Error('it was aborted'))
  }

  #remove(id: number, { context, size }: OutstandingCall): void {
    this.#calls.delete(id)
    this.#counts.remove(context, size)
  }

  #answer(id: number, response: HttpCallResponse | undefined, reason: string = 'reset', result?: CallResult): void {
    const call = this.#calls.get(id)
    if (call === undefined) return
    this.#remove(id, call)
    const status = response === undefined ? undefined : Number(response.headers[1])
    const ended = result ?? (status === undefined ? 'failed' : classOf(status))
    this.#instance.settings.counts?.httpCall(ended)
    const { message } = call
    if (message === undefined) this.#callBack(id, call, response, reason)
    else {
      if (status !== undefined) message.status = status
      const error = status === undefined ? new Error(reason) : undefined
      this.#ended(message, error, response?.headers, () => this.#callBack(id, call, response, reason))
    }
    if (call.context instanceof HttpContext) call.context.callAnswered(call.phase)
  }

  #callBack(
    id: number,
    { context, onBehalf }: OutstandingCall,
    response: HttpCallResponse | undefined,
    reason: string
  ): void {
    const instance = this.#instance
    const { root } = context
    const { proxy_on_http_call_response } = instance.callbacks
    if (proxy_on_http_call_response === undefined) return
    root.callResponse = response
    if (response === undefined) root.callStatus = { code: BROKEN_CONNECTION, message: reason }
    const { answered } = instance
    instance.answered = onBehalf
    instance.call(
      root,
      'proxy_on_http_call_response',
      proxy_on_http_call_response,
      root.id,
      id,
      response === undefined ? 0 : response.headers.length / 2,
      response === undefined ? 0 : response.body.length,
      response === undefined ? 0 : response.trailers.length / 2
    )
    instance.answered = answered
    root.callResponse = undefined
    root.callStatus = NO_STATUS
  }

  /** Tells those who watch how a call has ended, around what its answer leads to. */
  #ended(
    message: HttpCallMessage,
    error: Error | undefined,
    headers: readonly string[] = [],
    answer: () => void = () => {}
  ): void {
    if (error !== undefined) message.error = error
    this.#instance.settings.observer?.httpCallEnds?.(message, headers)
    tellEnd(httpCallChannel, message, answer)
  }

  #takeId(): number {
    do this.#lastId = (this.#lastId + 1) & 0x7fffffff
    while (this.#lastId === 0 || this.#calls.has(this.#lastId) || this.grpc.has(this.#lastId))
    return this.#lastId
  }
}
