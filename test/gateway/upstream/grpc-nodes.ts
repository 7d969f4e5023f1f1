import { readFileSync } from 'node:fs'
import {
  createSecureServer,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream
} from 'node:http2'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { GrpcCalls } from '../../../lib/gateway/upstream/grpc-calls.ts'
import { Deframer, frame } from '../../../lib/gateway/upstream/grpc-framing.ts'
import { Upstream } from '../../../lib/gateway/upstream/upstream.ts'
import { Upstreams } from '../../../lib/gateway/upstream/upstreams.ts'
import type { GrpcCall, GrpcStream } from '../../../lib/host/index.ts'
import type { Upstream as UpstreamConfig } from '../../../lib/index.ts'
import { RecordingLogger } from '../../host/recording-logger.ts'
import { listen, type Node, until } from './nodes.ts'

export interface GrpcNode extends Node {
  readonly server: Http2Server
  /** The request headers of each exchange. */
  readonly seen: IncomingHttpHeaders[]
  readonly streams: ServerHttp2Stream[]
}

/** The server's side of an exchange. */
export class GrpcServerStream {
  readonly stream: ServerHttp2Stream
  readonly headers: IncomingHttpHeaders
  onMessage: (message: string) => void = () => {}
  onEnd: () => void = () => {}

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    this.stream = stream
    this.headers = headers
    const deframer = new Deframer()
    stream.on('error', () => {})
    stream.on('data', (chunk: Buffer) => {
      for (const message of deframer.push(chunk)) this.onMessage(message.toString())
    })
    stream.on('end', () => this.onEnd())
  }

  head(metadata: Record<string, string | string[]> = {}): void {
    this.stream.respond(
      { ':status': 200, 'content-type': 'application/grpc', ...metadata },
      { waitForTrailers: true, endStream: false }
    )
  }

  send(...messages: string[]): void {
    for (const message of messages) this.stream.write(frame(Buffer.from(message)))
  }

  end(status: number = 0, trailers: Record<string, string | string[]> = {}): void {
    this.stream.once('wantTrailers', () => this.stream.sendTrailers({ 'grpc-status': String(status), ...trailers }))
    this.stream.end()
  }
}

/** Answers each message of a unary call with `hello <message>`. */
export function greet(exchange: GrpcServerStream): void {
  exchange.onMessage = (message) => {
    exchange.head()
    exchange.send(`hello ${message}`)
    exchange.end()
  }
}

const certificate = (name: string) => readFileSync(join(import.meta.dirname, 'certificate', name))

/** Starts an upstream's node that speaks HTTP/2. */
export async function startGrpcNode(
  t: TestContext,
  handler: (exchange: GrpcServerStream) => void,
  tls: boolean = false
): Promise<GrpcNode> {
  const server = tls
    ? createSecureServer({ key: certificate('key.pem'), cert: certificate('cert.pem') })
    : createServer()
  const seen: IncomingHttpHeaders[] = []
  const streams: ServerHttp2Stream[] = []
  server.on('stream', (stream, headers) => {
    seen.push(headers)
    streams.push(stream)
    handler(new GrpcServerStream(stream, headers))
  })
  server.on('session', (session) => session.on('error', () => {}))
  return { ...(await listen(t, server)), server: server as Http2Server, seen, streams }
}

/** An exchange, and what came of it: `initial …`, `message …`, `trailing …`, `close …`. */
export interface Recorded {
  readonly stream: GrpcStream
  readonly events: string[]
  readonly closed: Promise<string[]>
}

export interface GrpcClientOptions {
  /** The upstream `configured`. */
  upstream?: UpstreamConfig
}

/** What filters call by, without a filter. */
export class GrpcTester {
  readonly log: RecordingLogger = new RecordingLogger()
  readonly calls: GrpcCalls

  constructor(t: TestContext, upstream?: UpstreamConfig) {
    const configured = upstream && new Upstream(upstream, this.log)
    const upstreams = new Upstreams((id) => (id === 'configured' ? configured : undefined), this.log)
    this.calls = new GrpcCalls(upstreams, this.log)
    t.after(() => this.calls.close())
  }

  open(upstream: string, call: Partial<GrpcCall> = {}, onEvent: (event: string) => void = () => {}): Recorded {
    const events: string[] = []
    const record = (event: string) => {
      events.push(event)
      onEvent(event)
    }
    let opened = false
    let finish: (events: string[]) => void
    const closed = new Promise<string[]>((resolve) => {
      finish = resolve
    })
    const check = (event: string) => record(opened ? event : `${event} (before open returned)`)
    const stream = this.calls.open(
      { upstream, service: 'acme.Greeter', method: 'Greet', metadata: [], timeout: 0, ...call },
      {
        holds: () => true,
        initialMetadata: (metadata) => check(`initial ${withoutDate(metadata).join(' ')}`),
        message: (message) => check(`message ${message}`),
        trailingMetadata: (metadata) => check(`trailing ${metadata.join(' ')}`),
        close: (status, message) => {
          check(`close ${status} ${message}`.trimEnd())
          finish(events)
        }
      }
    )
    opened = true
    if (stream === undefined) throw new Error('it cannot be called')
    return { stream, events, closed }
  }

  /** A unary call. */
  call(upstream: string, message: string, call: Partial<GrpcCall> = {}): Promise<string[]> {
    const { stream, closed } = this.open(upstream, call)
    stream.send(Buffer.from(message), true)
    return closed
  }
}

function withoutDate(metadata: readonly string[]): string[] {
  const kept: string[] = []
  for (let i = 0; i < metadata.length; i += 2) {
    if (metadata[i] !== 'date') kept.push(metadata[i]!, metadata[i + 1]!)
  }
  return kept
}

/** Waits until a node has all of its streams ended. */
export async function untilQuiet(node: GrpcNode): Promise<void> {
  await until(() => node.streams.every(({ closed }) => closed), 'the streams of the node are closed')
}
