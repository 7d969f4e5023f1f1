import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import {
  type AddressInfo,
  connect,
  createServer as createNetServer,
  type Server as NetServer,
  type Socket
} from 'node:net'
import type { Readable } from 'node:stream'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import type { Upstream, WasmGatewayOptions, WasmRouteConfig } from '../../../lib/index.ts'
import { fixture, startApp, type TestApp } from '../../app.ts'

/** Nothing listens there, ever: connections are refused. */
export const REFUSED = '127.0.0.1:1'

export interface Node {
  port: number
  /** `127.0.0.1:port` */
  address: string
  /** The connections that are open. */
  sockets: Set<Socket>
  /** How many connections there were. */
  accepted(): number
}

export async function listen(t: TestContext, server: NetServer, host: string = '127.0.0.1'): Promise<Node> {
  const sockets = new Set<Socket>()
  let accepted = 0
  server.on('connection', (socket: Socket) => {
    accepted++
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { port, address: `${host}:${port}`, sockets, accepted: () => accepted }
}

/** Starts an upstream's node on Node's own server. */
export function startNode(
  t: TestContext,
  handler: (request: IncomingMessage, response: ServerResponse) => void,
  server: Server = createServer(),
  host?: string
): Promise<Node> {
  server.on('request', handler)
  return listen(t, server, host)
}

/** Starts a node that is handed what it receives, and answers bytes. */
export function startRawNode(t: TestContext, onSocket: (socket: Socket) => void): Promise<Node> {
  return listen(t, createNetServer(onSocket))
}

/** Starts a node that reads a request's head and answers with these bytes, whatever they are. */
export function answerBytes(t: TestContext, bytes: string | Buffer, close: boolean = true): Promise<Node> {
  return startRawNode(t, (socket) => {
    socket.once('data', () => {
      socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
      if (close) socket.end()
    })
  })
}

export async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

export interface Seen {
  method: string
  url: string
  headers: IncomingMessage['headers']
  rawHeaders: string[]
  body: Buffer
}

/** Starts a node that remembers what it was sent, and answers its own address. */
export async function startRecorder(t: TestContext): Promise<Node & { seen: Seen[] }> {
  const seen: Seen[] = []
  const node: Node = await startNode(t, (request, response) => {
    const { method, url, headers, rawHeaders } = request
    readAll(request).then(
      (body) => {
        seen.push({ method: method!, url: url!, headers, rawHeaders, body })
        response.end(node.address)
      },
      () => {}
    )
  })
  return { ...node, seen }
}

/** The values of a header, as they came. */
export function valuesOf(rawHeaders: readonly string[], name: string): string[] {
  const values: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (rawHeaders[i]!.toLowerCase() === name) values.push(rawHeaders[i + 1]!)
  }
  return values
}

export interface ProxyOptions {
  route?: WasmRouteConfig
  options?: WasmGatewayOptions
  server?: FastifyServerOptions
  declare?: (app: FastifyInstance) => void | Promise<void>
}

/** Starts an application that forwards everything to an upstream, or to the one node that is given. */
export function startProxy(t: TestContext, upstream: Upstream | string, more: ProxyOptions = {}): Promise<TestApp> {
  const config = { upstream: typeof upstream === 'string' ? { nodes: { [upstream]: 1 } } : upstream, ...more.route }
  return startApp(
    t,
    more.options ?? {},
    async (app) => {
      app.all('/*', { config: { wasm: config } }, app.wasmGateway.proxy)
      await more.declare?.(app)
    },
    more.server
  )
}

/** A route's plugins and the options that declare them: the Go script filter, with a script. */
export function scripted(script: Record<string, object[]>, plugin: object = {}): ProxyOptions {
  return {
    options: { plugins: [{ name: 'script', file: fixture('script-go'), ...plugin }] },
    route: { plugins: { script: { conf: script } } }
  }
}

/** Waits until something is so; fails after five seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (condition()) return
    await sleep(10)
  }
  throw new Error(`it never came to this: ${what}`)
}

/** Opens a connection and sends bytes, for requests that no client would make. */
export function open(t: TestContext, port: number, bytes: string | Buffer = ''): Socket & { received(): string } {
  const socket = connect(port, '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  socket.on('error', () => {})
  if (bytes.length > 0) socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  t.after(() => socket.destroy())
  return Object.assign(socket, { received: () => Buffer.concat(chunks).toString('latin1') })
}
