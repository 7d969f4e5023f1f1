import type { Context } from './context.ts'
import { HttpContext } from './http-context.ts'
import type { Instance } from './instance.ts'
import { OutstandingGrpc } from './outstanding-grpc.ts'
import { NO_STATUS, type PluginContext } from './plugin-context.ts'
import type { HttpCall, HttpCallResponse } from './stream.ts'

interface OutstandingCall {
  readonly context: Context
  /** The phase of the HTTP context that may wait for it. */
  readonly phase: number
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
  #lastId = 0

  constructor(instance: Instance) {
    this.#instance = instance
    this.grpc = new OutstandingGrpc(instance, () => this.#takeId())
  }

  get size(): number {
    return this.#calls.size + this.grpc.size
  }

  /** Whether it is the id of an http call. */
  has(id: number): boolean {
    return this.#calls.has(id)
  }

  /**
   * Sends a call on behalf of a context; an HTTP context waits for it.
   *
   * @returns the id of the call; `undefined` when it cannot be sent anywhere
   */
  dispatch(context: Context, call: HttpCall): number | undefined {
    const id = this.#takeId()
    const abort = this.#instance.settings.httpCalls.dispatch(call, (response, reason) => {
      this.#answer(id, response, reason)
    })
    if (abort === undefined) return undefined
    this.#calls.set(id, { context, phase: context instanceof HttpContext ? context.callDispatched() : 0, abort })
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
      if (call.context.root !== root) continue
      this.#calls.delete(id)
      call.abort()
    }
    this.grpc.cancelOf(root)
  }

  cancelAll(): void {
    for (const call of this.#calls.values()) call.abort()
    this.#calls.clear()
    this.grpc.cancelAll()
  }

  #answer(id: number, response: HttpCallResponse | undefined, reason: string = 'reset'): void {
    const call = this.#calls.get(id)
    if (call === undefined) return
    this.#calls.delete(id)
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
