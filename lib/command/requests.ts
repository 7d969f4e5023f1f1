import type { ServerResponse } from 'node:http'
import { Server } from 'node:net'
import type { FastifyInstance } from 'fastify'

/** The requests of a server that are under way. */
export class Requests {
  readonly #app: FastifyInstance
  readonly #responses: Set<ServerResponse> = new Set()
  #onDrained: (() => void) | undefined

  constructor(app: FastifyInstance) {
    this.#app = app
    app.addHook('onRequest', (_request, { raw }, done) => {
      this.#responses.add(raw)
      raw.once('close', () => this.#over(raw))
      if (this.#onDrained !== undefined) raw.shouldKeepAlive = false
      done()
    })
  }

  get size(): number {
    return this.#responses.size
  }

  /**
   * Takes no more connections, and no more than one request on each that there is. Resolves when all requests are over,
   * their responses handed to the system.
   */
  async drain(): Promise<void> {
    // Not the close of node:http, which destroys connections that look idle to it: those too whose response is written and
    // on its way to a slow client (`closeIdleConnections`, Node 20 to 26).
    Server.prototype.close.call(this.#app.server)
    await new Promise<void>((resolve) => {
      this.#onDrained = resolve
      // Its head says `connection: close` then.
      for (const response of this.#responses) response.shouldKeepAlive = false
      if (this.#responses.size === 0) resolve()
    })
    // What is still connected may never have sent a request (browsers connect ahead), and a close would wait for it.
    this.#app.server.closeAllConnections()
  }

  #over(response: ServerResponse): void {
    this.#responses.delete(response)
    if (this.#responses.size === 0) this.#onDrained?.()
  }
}
