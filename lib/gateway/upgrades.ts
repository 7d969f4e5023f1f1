import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'

/** Where a request that wants its connection upgraded keeps what comes with that. */
const kUpgrade: unique symbol = Symbol('fastify-wasm-gateway.upgrade')

/** What Node hands over with such a request: from then on it reads and writes nothing of the connection itself. */
export interface Upgrade {
  readonly socket: Duplex
  /** What the client has sent behind the request already. */
  readonly head: Buffer
  /** The connection is ours: it is closed with the application. */
  own(): void
}

/** The connection of a request that wants it upgraded; `undefined` for others. */
export function upgradeOf(raw: IncomingMessage): Upgrade | undefined {
  return (raw as { [kUpgrade]?: Upgrade })[kUpgrade]
}

/**
 * Has requests that want their connection upgraded go through the application's hooks and routes like all others. Without a
 * listener Node takes them for ordinary requests, so there is one only while a route wants upgrades. Where others listen
 * (@fastify/websocket does), they are the ones who send these requests on.
 */
export class Upgrades {
  readonly #app: FastifyInstance
  readonly #sockets: Set<Duplex> = new Set()
  #accepting = false

  constructor(app: FastifyInstance) {
    this.#app = app
    // The server waits for the connections that it has left to others.
    app.addHook('preClose', async () => {
      this.accept(false)
      for (const socket of this.#sockets) socket.destroy()
    })
  }

  accept(wanted: boolean): void {
    if (wanted === this.#accepting) return
    this.#accepting = wanted
    if (wanted) this.#app.server.on('upgrade', this.#onUpgrade)
    else this.#app.server.off('upgrade', this.#onUpgrade)
  }

  readonly #onUpgrade = (raw: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const own = () => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
      socket.on('error', () => socket.destroy())
    }
    Object.assign(raw, { [kUpgrade]: { socket, head, own } satisfies Upgrade })
    if (this.#app.server.listenerCount('upgrade') > 1) return
    own()
    const response = new ServerResponse(raw)
    response.assignSocket(socket as never)
    // Nobody reads a next request.
    response.shouldKeepAlive = false
    response.on('finish', () => destroySoon(socket))
    this.#app.routing(raw, response)
  }
}

/** Closes a connection when all that was written to it is sent. */
function destroySoon(socket: Duplex): void {
  socket.end(() => socket.destroy())
}
