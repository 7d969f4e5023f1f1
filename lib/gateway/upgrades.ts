import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { GrowingBytes } from '../growing-bytes.ts'

/** Where a request that wants its connection upgraded keeps what comes with that. */
const kUpgrade: unique symbol = Symbol('fastify-wasm-gateway.upgrade')

/** What Node hands over with such a request: from then on it reads and writes nothing of the connection itself. */
export interface Upgrade {
  readonly socket: Duplex
  /**
   * Takes the connection over: it is closed with the application.
   *
   * @returns what the client has sent behind the request already
   */
  take(): Buffer
}

/** A server of Node 24. */
interface Asked {
  /** Whether a request that wants its connection upgraded is to have it so, and is none like others */
  shouldUpgradeCallback?: ((this: unknown, raw: IncomingMessage) => boolean) | undefined
}

/** The connection of a request that wants it upgraded; `undefined` for others. */
export function upgradeOf(raw: IncomingMessage): Upgrade | undefined {
  return (raw as { [kUpgrade]?: Upgrade })[kUpgrade]
}

/**
 * Has requests for websockets go through the application's hooks and routes like all others. Without a listener Node takes
 * requests that want their connection upgraded for ordinary ones, so there is one only while a route wants upgrades. What asks
 * for something else than a websocket is given back to Node; where it has a body, Node keeps it if it asks beforehand
 * (`shouldUpgradeCallback`, Node 24), since it reads the body itself from Node 26 on. Where others listen (@fastify/websocket
 * does), they are the ones who send these requests on.
 */
export class Upgrades {
  readonly #app: FastifyInstance
  readonly #sockets: Set<Duplex> = new Set()
  #accepting = false
  /** What Node has asked before. */
  #shouldUpgrade: Asked['shouldUpgradeCallback']

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
    const server: FastifyInstance['server'] & Asked = this.#app.server
    if (wanted) {
      server.on('upgrade', this.#onUpgrade)
      this.#shouldUpgrade = server.shouldUpgradeCallback
      if (this.#shouldUpgrade !== undefined) server.shouldUpgradeCallback = this.#isForUpgrade
    } else {
      server.off('upgrade', this.#onUpgrade)
      if (this.#shouldUpgrade !== undefined) server.shouldUpgradeCallback = this.#shouldUpgrade
    }
  }

  readonly #isForUpgrade = (raw: IncomingMessage): boolean => {
    const { server } = this.#app
    return server.listenerCount('upgrade') > 1 ? this.#shouldUpgrade!.call(server, raw) : !hasBody(raw)
  }

  readonly #onUpgrade = (raw: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const early = new EarlyBytes(socket, head)
    if (this.#app.server.listenerCount('upgrade') > 1) {
      Object.assign(raw, { [kUpgrade]: this.#upgrade(socket, early) })
      return
    }
    this.#own(socket)
    early.watch()
    // The response to a request before it on the connection has to be sent first.
    const pending = (socket as { _httpMessage?: ServerResponse | null })._httpMessage
    if (pending) pending.once('close', () => this.#serve(raw, socket, early))
    else this.#serve(raw, socket, early)
  }

  #serve(raw: IncomingMessage, socket: Duplex, early: EarlyBytes): void {
    if (socket.destroyed) return
    if (!asksForWebsocket(raw)) {
      this.#sockets.delete(socket)
      serveAnew(this.#app.server, raw, socket, early.take())
      return
    }
    Object.assign(raw, { [kUpgrade]: this.#upgrade(socket, early) })
    const response = new ServerResponse(raw)
    response.assignSocket(socket as never)
    // Nobody reads a next request.
    response.shouldKeepAlive = false
    response.on('finish', () => destroySoon(socket))
    socket.on('drain', () => drain(response))
    this.#app.routing(raw, response)
  }

  #upgrade(socket: Duplex, early: EarlyBytes): Upgrade {
    const take = () => {
      this.#own(socket)
      return early.take()
    }
    return { socket, take }
  }

  #own(socket: Duplex): void {
    if (this.#sockets.has(socket)) return
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => socket.destroy())
  }
}

/** So much is read of what a client sends before its request is answered. */
const MAX_EARLY = 64 * 1024

/** What a client sends while its request for a websocket is not answered, and whether it leaves. */
class EarlyBytes {
  readonly #socket: Duplex
  readonly #head: Buffer
  readonly #bytes: GrowingBytes = new GrowingBytes()

  constructor(socket: Duplex, head: Buffer) {
    this.#socket = socket
    this.#head = head
  }

  /** A client that leaves is noticed by reading alone. */
  watch(): void {
    this.#socket.on('readable', this.#read)
    this.#socket.on('end', this.#leave)
  }

  take(): Buffer {
    this.#socket.off('readable', this.#read)
    this.#socket.off('end', this.#leave)
    return Buffer.concat([this.#head, this.#bytes.take()])
  }

  readonly #read = (): void => {
    while (this.#bytes.size < MAX_EARLY) {
      const chunk = this.#socket.read() as Buffer | null
      if (chunk === null) return
      this.#bytes.add(chunk)
    }
  }

  /** As Node does with a client that has closed its side. */
  readonly #leave = (): void => destroySoon(this.#socket)
}

function asksForWebsocket(raw: IncomingMessage): boolean {
  return raw.method === 'GET' && !hasBody(raw) && raw.headers.upgrade?.toLowerCase() === 'websocket'
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** Has Node read a request again, as one that wants no upgrade: so it would be without a listener for these. */
function serveAnew(server: FastifyInstance['server'], raw: IncomingMessage, socket: Duplex, head: Buffer): void {
  let text = `${raw.method} ${raw.url} HTTP/${raw.httpVersion}\r\n`
  const { rawHeaders } = raw
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name, value] = [rawHeaders[i]!, rawHeaders[i + 1]!]
    const kept = name.toLowerCase() === 'connection' ? withoutUpgrade(value) : value
    if (kept !== '' || value === '') text += `${name}: ${kept}\r\n`
  }
  socket.unshift(Buffer.concat([Buffer.from(`${text}\r\n`, 'latin1'), head]))
  server.emit('encrypted' in socket ? 'secureConnection' : 'connection', socket)
}

function withoutUpgrade(connection: string): string {
  const options = connection.split(',').map((option) => option.trim())
  return options.filter((option) => option.toLowerCase() !== 'upgrade' && option !== '').join(', ')
}

/** Lets a response go on that has waited for its connection: what Node does for those that it serves itself. */
function drain(response: ServerResponse): void {
  if (!response.writableNeedDrain) return
  const kNeedDrain = Object.getOwnPropertySymbols(response).find(({ description }) => description === 'kNeedDrain')
  if (kNeedDrain !== undefined) Object.assign(response, { [kNeedDrain]: false })
  response.emit('drain')
}

/** Closes a connection when all that was written to it is sent. */
function destroySoon(socket: Duplex): void {
  socket.end(() => socket.destroy())
}
