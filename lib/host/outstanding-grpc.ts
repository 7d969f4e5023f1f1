import type { CallCounts } from './call-counts.ts'
import type { Context } from './context.ts'
import { HttpContext } from './http-context.ts'
import type { Callback, Instance } from './instance.ts'
import { MAX_CALL_BYTES } from './limits.ts'
import { type GrpcCallMessage, grpcCallChannel, tellEnd, tellStart } from './observer.ts'
import { NO_STATUS, type PluginContext } from './plugin-context.ts'
import type { CallResult } from './plugin-counts.ts'
import { Refusal } from './refusals.ts'
import type { GrpcCall, GrpcEvents, GrpcStream } from './stream.ts'
import { passTraceOn } from './trace-context.ts'

/** gRPC's own codes for how an exchange ended, those that arise here. */
const GrpcStatus = { Ok: 0, Cancelled: 1, ResourceExhausted: 8, Internal: 13 } as const

/** A phase that no HTTP context is ever in. */
const NO_PHASE = -1

/** A call whose metadata nobody else has. */
type OwnGrpcCall = GrpcCall & { readonly metadata: string[] }

interface Exchange {
  readonly context: Context
  /** One message each way. Otherwise it is a stream, which no phase waits for. */
  readonly unary: boolean
  /** The phase of the HTTP context that may wait for it. */
  readonly phase: number
  /** What it holds, in bytes: what it was begun with, and what has come and the filter has not been given */
  size: number
  /** How much of that is of a message that is not complete. */
  partial: number
  readonly stream: GrpcStream
  /** For those who watch, if there are any */
  readonly watched: GrpcCallMessage | undefined
  /** Whether the filter has sent its last message. */
  halfClosed: boolean
  /** What a unary call was answered. */
  answer: Buffer | undefined
  answers: number
}

/**
 * The gRPC calls and streams of one instance that are not over yet. They belong to the plugin context, whose
 * callbacks hear of them, whichever context asked for them.
 */
export class OutstandingGrpc {
  readonly #instance: Instance
  readonly #counts: CallCounts
  readonly #takeId: () => number
  readonly #exchanges: Map<number, Exchange> = new Map()
  readonly #refusal: Refusal = new Refusal()

  /**
   * @param counts of calls of all kinds
   * @param takeId an id that no call of any kind has
   */
  constructor(instance: Instance, counts: CallCounts, takeId: () => number) {
    this.#instance = instance
    this.#counts = counts
    this.#takeId = takeId
  }

  get size(): number {
    return this.#exchanges.size
  }

  has(id: number): boolean {
    return this.#exchanges.has(id)
  }

  /**
   * Makes a unary call on behalf of a context that may make one more; an HTTP context waits for it as for an http call.
   *
   * @param size what it holds, in bytes
   * @returns its id; `undefined` when there is no such upstream
   */
  call(context: Context, call: OwnGrpcCall, message: Buffer, size: number): number | undefined {
    const id = this.#takeId()
    const events: GrpcEvents = {
      holds: (bytes) => this.#holds(id, bytes),
      initialMetadata() {},
      message: (answer) => this.#answered(id, answer),
      trailingMetadata() {},
      close: (status, text) => this.#callEnded(id, status, text)
    }
    return this.#begin(id, context, call, events, (stream, watched) => {
      stream.send(message, true)
      const phase = context instanceof HttpContext ? context.callDispatched() : NO_PHASE
      this.#add(id, context, true, phase, size, stream, watched)
    })
  }

  /**
   * Opens a stream on behalf of a context that may make one more call.
   *
   * @param size what it holds, in bytes
   * @returns its id; `undefined` when there is no such upstream
   */
  open(context: Context, call: OwnGrpcCall, size: number): number | undefined {
    const id = this.#takeId()
    return this.#begin(id, context, call, this.#streamEvents(id), (stream, watched) => {
      if (context instanceof HttpContext) context.streamOpened()
      this.#add(id, context, false, NO_PHASE, size, stream, watched)
    })
  }

  /** @returns whether the id is that of a stream on which the filter may still send, and there is room for the message */
  send(id: number, message: Buffer, endStream: boolean): boolean {
    const exchange = this.#exchanges.get(id)
    if (exchange === undefined || exchange.unary || exchange.halfClosed) return false
    // A filter is not told when an upstream takes no more.
    if (this.#unsent + message.length > MAX_CALL_BYTES) {
      this.#refusal.refused(
        this.#instance.settings,
        'a message is refused: its gRPC streams hold too much that is not sent'
      )
      return false
    }
    this.#refusal.worked()
    exchange.halfClosed = endStream
    exchange.stream.send(message, endStream)
    return true
  }

  /**
   * Ends the filter's side of a stream. A unary call has none to end, and is cancelled, as in Envoy.
   *
   * @returns whether there is one with that id
   */
  halfClose(id: number): boolean {
    const exchange = this.#exchanges.get(id)
    if (exchange === undefined) return false
    if (exchange.unary) return this.cancel(id)
    if (!exchange.halfClosed) exchange.stream.end()
    exchange.halfClosed = true
    return true
  }

  /**
   * Ends a call or a stream, without a callback.
   *
   * @returns whether there is one with that id
   */
  cancel(id: number): boolean {
    const exchange = this.#remove(id)
    if (exchange === undefined) return false
    exchange.stream.cancel()
    this.#count('aborted')
    this.#ended(exchange.watched, undefined, 'the filter has cancelled it')
    this.#leave(exchange)
    return true
  }

  /** The client left: what a context has called is aborted, and closed as cancelled. Its streams have until its end. */
  abortCalls(context: HttpContext): void {
    this.#abort((exchange) => exchange.unary && exchange.context === context, 'the client left')
  }

  /**
   * A context is at its end: a stream on which it has not sent its last message is aborted, for nobody is left to send it,
   * and an upstream would wait for ever. It is closed as cancelled, and not in silence, since the SDKs keep an entry for
   * every id. One that the filter has half-closed goes on until the upstream ends it, and a unary call until it is
   * answered, as http calls do: both belong to the plugin context. So what a filter sends in `proxy_on_log`
   * arrives.
   */
  abortStreams(context: HttpContext): void {
    if (this.#exchanges.size === 0) return
    this.#abort((exchange) => !exchange.halfClosed && exchange.context === context, 'its stream has ended')
  }

  /** Ends what a plugin context and its HTTP contexts have under way, without callbacks. */
  cancelOf(root: PluginContext): void {
    for (const [id, exchange] of this.#exchanges) {
      if (exchange.context.root !== root) continue
      this.#remove(id)
      exchange.stream.cancel()
      this.#count('aborted')
      this.#ended(exchange.watched, undefined, 'it was aborted')
    }
  }

  cancelAll(): void {
    for (const [id, { stream, watched }] of this.#exchanges) {
      this.#remove(id)
      stream.cancel()
      this.#count('aborted')
      this.#ended(watched, undefined, 'it was aborted')
    }
  }

  /** Bytes that all streams have not sent. */
  get #unsent(): number {
    let bytes = 0
    for (const { stream } of this.#exchanges.values()) bytes += stream.unsent
    return bytes
  }

  /** @returns the id; `undefined` when there is no such upstream, and then `begun` is not called */
  #begin(
    id: number,
    context: Context,
    call: OwnGrpcCall,
    events: GrpcEvents,
    begun: (stream: GrpcStream, watched: GrpcCallMessage | undefined) => void
  ): number | undefined {
    const onBehalf = context instanceof HttpContext ? context : this.#instance.answered
    const send = (watched: GrpcCallMessage | undefined) => {
      if (onBehalf !== undefined) passTraceOn(onBehalf.stream.requestHeaders, call.metadata)
      const stream = this.#client.open(call, events)
      if (stream === undefined) {
        this.#count('refused')
        return undefined
      }
      begun(stream, watched)
      return id
    }
    const { name: plugin, observer } = this.#instance.settings
    if (observer === undefined && !grpcCallChannel.hasSubscribers) return send(undefined)
    const { upstream, service, method, metadata } = call
    const request = onBehalf?.stream.request
    const ids = { context: context.id, rootContext: context.root.id }
    const watched: GrpcCallMessage = { plugin, ...ids, request, upstream, service, method, metadata }
    observer?.grpcCallStarts?.(watched)
    return tellStart(
      grpcCallChannel,
      watched,
      () => send(watched),
      () => this.#ended(watched, undefined, 'there is nothing of that name to call')
    )
  }

  /** Tells those who watch how a call or a stream has ended, around what that leads to. */
  #ended(watched: GrpcCallMessage | undefined, status: number | undefined, text: string, tell: () => void = () => {}) {
    if (watched === undefined) {
      tell()
      return
    }
    if (status !== undefined) watched.status = status
    if (status !== GrpcStatus.Ok) watched.error = new Error(text)
    this.#instance.settings.observer?.grpcCallEnds?.(watched)
    tellEnd(grpcCallChannel, watched, tell)
  }

  #count(result: CallResult): void {
    this.#instance.settings.counts?.grpcCall(result)
  }

  get #client() {
    return this.#instance.settings.grpcCalls
  }

  #add(
    id: number,
    context: Context,
    unary: boolean,
    phase: number,
    size: number,
    stream: GrpcStream,
    watched: GrpcCallMessage | undefined
  ): void {
    this.#counts.add(context, size)
    this.#exchanges.set(id, {
      context,
      unary,
      phase,
      size,
      partial: 0,
      stream,
      watched,
      halfClosed: unary,
      answer: undefined,
      answers: 0
    })
  }

  #remove(id: number): Exchange | undefined {
    const exchange = this.#exchanges.get(id)
    if (exchange === undefined) return undefined
    this.#exchanges.delete(id)
    this.#counts.remove(exchange.context, exchange.size)
    return exchange
  }

  #leave({ context, phase }: Exchange): void {
    if (context instanceof HttpContext) context.callAnswered(phase)
  }

  #abort(concerned: (exchange: Exchange) => boolean, reason: string): void {
    // A copy: a filter that opens another when one is closed must not keep this loop going.
    for (const [id, exchange] of [...this.#exchanges]) {
      // When the module traps at one, the others have been cancelled.
      if (!concerned(exchange) || !this.#exchanges.has(id)) continue
      exchange.stream.cancel()
      this.#close(id, GrpcStatus.Cancelled, reason)
    }
  }

  #streamEvents(id: number): GrpcEvents {
    const { callbacks } = this.#instance
    return {
      holds: (bytes) => this.#holds(id, bytes),
      initialMetadata: (metadata) => {
        const root = this.#rootOf(id)
        if (root === undefined) return
        root.grpcReceived.initialMetadata = metadata
        const name = 'proxy_on_grpc_receive_initial_metadata'
        this.#tell(root, name, callbacks[name], id, metadata.length / 2)
      },
      message: (message) => {
        const root = this.#rootOf(id)
        if (root !== undefined) this.#receive(root, id, message)
      },
      trailingMetadata: (metadata) => {
        const root = this.#rootOf(id)
        if (root === undefined) return
        root.grpcReceived.trailingMetadata = metadata
        const name = 'proxy_on_grpc_receive_trailing_metadata'
        this.#tell(root, name, callbacks[name], id, metadata.length / 2)
      },
      close: (status, text) => this.#close(id, status, text)
    }
  }

  #answered(id: number, answer: Buffer): void {
    const exchange = this.#exchanges.get(id)
    if (exchange === undefined) return
    exchange.answers++
    if (exchange.answer !== undefined) return
    if (this.#counts.grow(exchange, answer.length)) {
      exchange.answer = answer
    } else {
      exchange.stream.cancel()
      this.#close(id, GrpcStatus.ResourceExhausted, 'the answers that are under way hold too much')
    }
  }

  #holds(id: number, bytes: number): boolean {
    const exchange = this.#exchanges.get(id)
    if (exchange === undefined) return false
    if (!this.#counts.grow(exchange, bytes - exchange.partial)) return false
    exchange.partial = bytes
    return true
  }

  /** One callback: with the answer when there is exactly one, else with why there is none. */
  #callEnded(id: number, status: number, text: string): void {
    const { answer, answers, context } = this.#exchanges.get(id) ?? {}
    if (context === undefined) return
    if (status !== GrpcStatus.Ok) this.#close(id, status, text)
    else if (answers !== 1) this.#close(id, GrpcStatus.Internal, `a unary call was answered with ${answers} messages`)
    else {
      const exchange = this.#remove(id)!
      this.#count('ok')
      this.#ended(exchange.watched, status, text, () => this.#receive(context.root, id, answer!))
      this.#leave(exchange)
    }
  }

  #receive(root: PluginContext, id: number, message: Buffer): void {
    const { proxy_on_grpc_receive } = this.#instance.callbacks
    root.grpcReceived.message = message
    this.#tell(root, 'proxy_on_grpc_receive', proxy_on_grpc_receive, id, message.length)
  }

  #close(id: number, status: number, message: string): void {
    const exchange = this.#remove(id)
    if (exchange === undefined) return
    this.#count(status === GrpcStatus.Ok ? 'ok' : status === GrpcStatus.Cancelled ? 'aborted' : 'error')
    const { root } = exchange.context
    const { proxy_on_grpc_close } = this.#instance.callbacks
    this.#ended(exchange.watched, status, message || `it was closed with status ${status}`, () => {
      root.callStatus = { code: status, message }
      this.#tell(root, 'proxy_on_grpc_close', proxy_on_grpc_close, id, status)
    })
    this.#leave(exchange)
  }

  #rootOf(id: number): PluginContext | undefined {
    return this.#exchanges.get(id)?.context.root
  }

  /** Calls back, and forgets what could be read in that callback. */
  #tell(root: PluginContext, name: string, callback: Callback | undefined, id: number, value: number): void {
    if (callback !== undefined) this.#instance.call(root, name, callback, root.id, id, value)
    root.grpcReceived = {}
    root.callStatus = NO_STATUS
  }
}
