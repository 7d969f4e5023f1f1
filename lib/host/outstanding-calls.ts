import { CallCounts } from './call-counts.ts'
import type { Context } from './context.ts'
import { HttpContext } from './http-context.ts'
import type { Instance } from './instance.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import { OutstandingGrpc } from './outstanding-grpc.ts'
import { NO_STATUS, type PluginContext } from './plugin-context.ts'
import { Refusal } from './refusals.ts'
import type { HttpCall, HttpCallResponse } from './stream.ts'

interface OutstandingCall {
  readonly context: Context
  /** The phase of the HTTP context that may wait for it. */
  readonly phase: number
  /** What it holds, in bytes */
  readonly size: number
  readonly abort: () => void
}

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
    const { httpCalls } = instance.settings.limits ?? DEFAULT_LIMITS
    this.#counts = new CallCounts(httpCalls)
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
  dispatch(context: Context, call: HttpCall, size: number): number | undefined {
    const id = this.#takeId()
    const abort = this.#instance.settings.httpCalls.dispatch(call, (response, reason) => {
      this.#answer(id, response, reason)
    })
    if (abort === undefined) return undefined
    this.#calls.set(id, { context, phase: context instanceof HttpContext ? context.callDispatched() : 0, size, abort })
    this.#counts.add(context, size)
    return id
  }

  /** Aborts what a context has under way, and answers it as failed: the SDKs keep an entry for every id. */
  abort(context: HttpContext): void {
    // A copy: a filter that calls again when a call failed must not keep this loop going.
    for (const [id, call] of [...this.#calls]) {
      // When the module traps at an answer, the others have been cancelled.
      if (call.context !== context || !this.#calls.has(id)) continue
      call.abort()
      this.#answer(id, undefined, 'the client left')
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
  }

  #remove(id: number, { context, size }: OutstandingCall): void {
    this.#calls.delete(id)
    this.#counts.remove(context, size)
  }

  #answer(id: number, response: HttpCallResponse | undefined, reason: string = 'reset'): void {
    const call = this.#calls.get(id)
    if (call === undefined) return
    this.#remove(id, call)
    const { root } = call.context
    const { proxy_on_http_call_response } = this.#instance.callbacks
    if (proxy_on_http_call_response !== undefined) {
      root.callResponse = response
      if (response === undefined) root.callStatus = { code: BROKEN_CONNECTION, message: reason }
      this.#instance.call(
        root,
        'proxy_on_http_call_response',
        proxy_on_http_call_response,
        root.id,
        id,
        response === undefined ? 0 : response.headers.length / 2,
        response === undefined ? 0 : response.body.length,
        response === undefined ? 0 : response.trailers.length / 2
      )
      root.callResponse = undefined
      root.callStatus = NO_STATUS
    }
    if (call.context instanceof HttpContext) call.context.callAnswered(call.phase)
  }

  #takeId(): number {
    do this.#lastId = (this.#lastId + 1) & 0x7fffffff
    while (this.#lastId === 0 || this.#calls.has(this.#lastId) || this.grpc.has(this.#lastId))
    return this.#lastId
  }
}
