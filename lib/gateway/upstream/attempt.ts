import { type Duplex, Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { UpstreamNode } from '../../config/validate.ts'
import { FST_WASM_UPSTREAM_TIMEOUT } from '../../errors.ts'
import { GrowingBytes } from '../../growing-bytes.ts'
import type { Outcome } from './health-checks.ts'
import type { BodyWatcher, OutgoingBody } from './outgoing-body.ts'
import type { Upstream } from './upstream.ts'

export interface UpstreamResponse {
  readonly statusCode: number
  /** name, value, …, names in lower case */
  readonly headers: string[]
  readonly body: Readable | WholeBody
  /** name, value, …, names in lower case; complete when the body has ended */
  readonly trailers: string[]
}

/** The body of a response that came all at once, as most do. */
export class WholeBody {
  readonly bytes: Buffer

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  /** As a stream that is let go of: there is nothing to stop. */
  destroy(): void {}
}

type Controller = Dispatcher.DispatchController

/** So many bytes of a body may wait before no more are read, as with undici's own. */
const MAX_WAITING = 64 * 1024

const CONNECT_TIMEOUTS: ReadonlySet<string | undefined> = new Set(['UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT'])

/** Whether a failure towards a node is that time ran out. */
export function isTimeout(error: Error & { code?: string }): boolean {
  return error instanceof FST_WASM_UPSTREAM_TIMEOUT || CONNECT_TIMEOUTS.has(error.code)
}

/** One request to one node, as undici reports of it. */
export class Attempt implements Dispatcher.DispatchHandler, BodyWatcher {
  readonly #upstream: Upstream
  readonly #node: UpstreamNode
  readonly #timeout: number
  readonly #isStreamed: boolean
  readonly #callback: (error: Error | null, response?: UpstreamResponse) => void
  readonly #trailers: string[] = []
  #controller: Controller | undefined
  /** Runs while the node is to send something. */
  #timer: NodeJS.Timeout | undefined
  #statusCode = 0
  #body: Readable | undefined
  /** Whether the head has been told. */
  #answered = false
  /** What of the body nobody has asked for yet. */
  readonly #waiting: GrowingBytes = new GrowingBytes()
  /** Whether somebody has asked for more than there was. */
  #wanted = false
  /** Why there is no more than that. */
  #brokenBy: Error | undefined
  #abortion: Error | undefined
  #complete = false

  /**
   * @param node was picked for it, and is released when it is over
   * @param timeout milliseconds between two reads
   * @param callback is called once, never before the request has been dispatched
   */
  constructor(
    upstream: Upstream,
    node: UpstreamNode,
    timeout: number,
    outgoing: OutgoingBody | undefined,
    callback: (error: Error | null, response?: UpstreamResponse) => void
  ) {
    this.#upstream = upstream
    this.#node = node
    this.#timeout = timeout
    this.#isStreamed = outgoing !== undefined
    this.#callback = callback
    if (outgoing !== undefined) outgoing.watcher = this
  }

  abort(error: Error): void {
    if (this.#complete) return
    this.#abortion ??= error
    this.#controller?.abort(this.#abortion)
  }

  bodySent(): void {
    if (this.#statusCode === 0 && !this.#complete) this.#expect('it did not answer in time')
  }

  onRequestStart(controller: Controller): void {
    this.#controller = controller
    if (this.#abortion !== undefined) controller.abort(this.#abortion)
    else if (!this.#isStreamed) this.#expect('it did not answer in time')
  }

  /** Only CONNECT comes to this, when a filter sets it: there is no tunnel through a filter. */
  onRequestUpgrade(controller: Controller, _statusCode: number, _headers: unknown, socket: Duplex): void {
    socket.destroy()
    this.onResponseError(controller, new Error('it opened a tunnel'))
  }

  onResponseStart(controller: Controller, statusCode: number): void {
    // It is not the answer yet, however many of them come.
    if (statusCode < 200) return
    clearTimeout(this.#timer)
    this.#statusCode = statusCode
    this.#report(statusCode)
    // Undici reads all that the socket has before anything else runs.
    const headers = listOf(controller.rawHeaders)
    queueMicrotask(() => this.#answer(controller, headers))
  }

  #answer(controller: Controller, headers: string[]): void {
    this.#answered = true
    const isWhole = this.#complete && this.#brokenBy === undefined
    const body = isWhole ? new WholeBody(this.#waiting.take()) : this.#open(controller)
    this.#callback(null, { statusCode: this.#statusCode, headers, body, trailers: this.#trailers })
    if (this.#brokenBy !== undefined) this.#body!.destroy(this.#brokenBy)
  }

  #open(controller: Controller): Readable {
    const body = new Readable({
      // One chunk: what has to wait does so here, in one piece, and not as an object for each bit of it.
      highWaterMark: 1,
      read: () => this.#read(controller),
      destroy: (error, done) => {
        // An error is dear: it looks where it comes from.
        if (!this.#complete) this.abort(error ?? new Error('the response was let go of'))
        done(error)
      }
    })
    this.#body = body
    if (!this.#complete) this.#expect('it stopped in its response')
    if (this.#waiting.size >= MAX_WAITING && !this.#complete) controller.pause()
    return body
  }

  /** Somebody wants more of the body. */
  #read(controller: Controller): void {
    if (this.#waiting.size === 0) this.#wanted = true
    else this.#body!.push(this.#waiting.take())
    if (this.#complete) this.#body!.push(null)
    if (!controller.paused) return
    this.#timer?.refresh()
    controller.resume()
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#answered) this.#timer!.refresh()
    if (this.#wanted) {
      this.#wanted = false
      this.#body!.push(chunk)
      return
    }
    this.#waiting.add(chunk)
    if (this.#answered && this.#waiting.size >= MAX_WAITING) controller.pause()
  }

  onResponseEnd(controller: Controller): void {
    this.#end()
    this.#trailers.push(...listOf(controller.rawTrailers))
    if (this.#waiting.size === 0) this.#body?.push(null)
  }

  onResponseError(controller: Controller | undefined, error: Error & { code?: string }): void {
    // A 304 has no body, and may say how long that of a 200 would be (RFC 9110 §8.6), which undici 7 takes for its own.
    if (this.#statusCode === 304 && error.code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') {
      this.onResponseEnd(controller!)
      return
    }
    this.#end()
    if (isTimeout(this.#abortion ?? error)) this.#report('timeout')
    else if (this.#abortion === undefined) this.#report('tcp failure')
    // Undici may report at once that it cannot send what it was given.
    if (this.#statusCode !== 0 && !this.#answered) this.#brokenBy = error
    else if (this.#body === undefined) queueMicrotask(() => this.#callback(error))
    else this.#body.destroy(error)
  }

  #end(): void {
    this.#complete = true
    clearTimeout(this.#timer)
    this.#upstream.release(this.#node)
  }

  #report(outcome: Outcome): void {
    this.#upstream.report(this.#node, outcome)
  }

  #expect(otherwise: string): void {
    this.#timer = setTimeout(() => {
      // It is the client that takes no more; the timer runs again when it does.
      if (this.#controller?.paused) return
      this.abort(new FST_WASM_UPSTREAM_TIMEOUT(otherwise))
    }, this.#timeout)
  }
}

/** Undici hands out the bytes, name, value, … */
function listOf(raw: Controller['rawHeaders']): string[] {
  return ((raw ?? []) as Buffer[]).map((item, i) => {
    const text = item.toString('latin1')
    return i % 2 === 0 ? text.toLowerCase() : text
  })
}
