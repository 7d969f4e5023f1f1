import { AsyncResource } from 'node:async_hooks'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'

type Controller = Dispatcher.DispatchController

// What comes over a connection comes in the asynchronous context of the request that has opened it, and so would all that
// follows: an `AsyncLocalStorage` of the application would be that of another user.

type RequestHandler = Required<
  Pick<
    Dispatcher.DispatchHandler,
    'onRequestStart' | 'onRequestUpgrade' | 'onResponseStart' | 'onResponseData' | 'onResponseEnd' | 'onResponseError'
  >
>

/** What undici reports of a request, in the context in which that was made. */
export class RequestInContext extends AsyncResource implements Dispatcher.DispatchHandler {
  readonly #handler: RequestHandler

  constructor(handler: RequestHandler) {
    super('fastify-wasm-gateway.request')
    this.#handler = handler
  }

  onRequestStart(controller: Controller, context: unknown): void {
    this.runInAsyncScope(this.#handler.onRequestStart, this.#handler, controller, context)
  }

  onRequestUpgrade(controller: Controller, statusCode: number, headers: never, socket: Duplex): void {
    this.runInAsyncScope(this.#handler.onRequestUpgrade, this.#handler, controller, statusCode, headers, socket)
  }

  onResponseStart(controller: Controller, statusCode: number, headers: never): void {
    this.runInAsyncScope(this.#handler.onResponseStart, this.#handler, controller, statusCode, headers)
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.runInAsyncScope(this.#handler.onResponseData, this.#handler, controller, chunk)
  }

  onResponseEnd(controller: Controller, trailers: never): void {
    this.runInAsyncScope(this.#handler.onResponseEnd, this.#handler, controller, trailers)
  }

  onResponseError(controller: Controller, error: Error): void {
    this.runInAsyncScope(this.#handler.onResponseError, this.#handler, controller, error)
  }
}
