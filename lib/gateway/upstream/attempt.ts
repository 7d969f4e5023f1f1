import { type Duplex, Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { UpstreamNode } from '../../config/validate.ts'
import { FST_WASM_UPSTREAM_TIMEOUT } from '../../errors.ts'
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

/** As undici's own bodies. */
const HIGH_WATER_MARK = 64 * 1024

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
  /** What of the body came together with the head, which has not been told yet. */
  #held: Buffer[] | undefined
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
    if (statusCode < 200) {
      this.#timer?.refresh()
      return
    }
    clearTimeout(this.#timer)
    this.#statusCode = statusCode
    this.#report(statusCode)
    // Undici reads all that the socket has before anything else runs.
    this.#held = []
    const headers = listOf(controller.rawHeaders)
    queueMicrotask(() => this.#answer(controller, headers, this.#held!))
  }

  /** @param held what there is of the body */
  #answer(controller: Controller, headers: string[], held: readonly Buffer[]): void {
    this.#held = undefined
    const isWhole = this.#complete && this.#brokenBy === undefined
    const body = isWhole
      ? new WholeBody(held.length === 1 ? held[0]! : Buffer.concat(held))
      : this.#open(controller, held)
    this.#callback(null, { statusCode: this.#statusCode, headers, body, trailers: this.#trailers })
    if (this.#brokenBy !== undefined) this.#body!.destroy(this.#brokenBy)
  }

  #open(controller: Controller, held: readonly Buffer[]): Readable {
    const body = new Readable({
      highWaterMark: HIGH_WATER_MARK,
      read: () => {
        if (!controller.paused) return
        this.#timer?.refresh()
        controller.resume()
      },
      destroy: (error, done) => {
        // An error is dear: it looks where it comes from.
        if (!this.#complete) this.abort(error ?? new Error('the response was let go of'))
        done(error)
      }
    })
    this.#body = body
    if (!this.#complete) this.#expect('it stopped in its response')
    for (const chunk of held) if (!body.push(chunk) && !this.#complete) controller.pause()
    return body
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#held !== undefined) {
      this.#held.push(chunk)
      return
    }
    this.#timer!.refresh()
    if (!this.#body!.push(chunk)) controller.pause()
  }

  onResponseEnd(controller: Controller): void {
    this.#end()
    this.#trailers.push(...listOf(controller.rawTrailers))
    this.#body?.push(null)
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
    if (this.#held !== undefined) this.#brokenBy = error
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
