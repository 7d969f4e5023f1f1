import { type ClientHttp2Stream, constants } from 'node:http2'
import type { UpstreamNode } from '../../config/validate.ts'
import { GrowingBytes } from '../../growing-bytes.ts'
import type { GrpcCall, GrpcEvents, GrpcStream } from '../../host/index.ts'
import { Deframer, frame } from './grpc-framing.ts'
import { grpcHeaders, metadataOf } from './grpc-headers.ts'
import { GrpcStatus, messageIn, statusIn, statusOfHttp, statusOfReset } from './grpc-status.ts'
import type { Http2Connection, Http2Connections } from './http2-connections.ts'
import type { Upstream } from './upstream.ts'

/** What may wait to be sent: a filter is not told when the upstream takes no more. */
const MAX_UNSENT = 16 * 1024 * 1024

/**
 * One gRPC exchange with a node of an upstream; with another node, as far as `retries` allows, when it cannot be connected
 * to. No event comes before the constructor has returned.
 */
export class GrpcExchange implements GrpcStream {
  readonly #connections: Http2Connections
  readonly #upstream: Upstream
  readonly #call: GrpcCall
  readonly #events: GrpcEvents
  readonly #warn: (reason: string) => void
  readonly #timer: ReturnType<typeof setTimeout> | undefined
  readonly #tried: UpstreamNode[] = []
  /** The node that is at work, or is connected to. */
  #node: UpstreamNode | undefined
  readonly #deframer: Deframer = new Deframer()
  /** What the filter has sent and the stream has not been given: there is no connection, or it is busy with what it has. */
  readonly #waiting: GrowingBytes = new GrowingBytes()
  #writing = false
  #halfClosed = false
  #over = false
  #connection: Http2Connection | undefined
  /** Ends the wait for a connection. */
  #unwait: (() => void) | undefined
  #stream: ClientHttp2Stream | undefined
  #httpStatus = 0
  /** name, value, … */
  #trailers: string[] | undefined

  /** @param warn is told why an exchange failed that the upstream has not ended itself */
  constructor(
    connections: Http2Connections,
    upstream: Upstream,
    call: GrpcCall,
    events: GrpcEvents,
    warn: (reason: string) => void
  ) {
    this.#connections = connections
    this.#upstream = upstream
    this.#call = call
    this.#events = events
    this.#warn = warn
    if (call.timeout > 0) {
      const late = () => this.#fail(GrpcStatus.DeadlineExceeded, `no answer in ${call.timeout} ms`)
      this.#timer = setTimeout(late, call.timeout)
    }
    this.#connect()
  }

  get unsent(): number {
    return this.#waiting.size + (this.#stream?.writableLength ?? 0)
  }

  send(message: Buffer, endStream: boolean): void {
    if (this.#over || this.#halfClosed) return
    const framed = frame(message)
    this.#waiting.add(framed)
    if (endStream) this.#halfClosed = true
    this.#flush()
    if (this.unsent > MAX_UNSENT + framed.length) {
      queueMicrotask(() => this.#fail(GrpcStatus.ResourceExhausted, 'the upstream does not take what is sent'))
    }
  }

  end(): void {
    this.#halfClosed = true
    this.#flush()
  }

  cancel(): void {
    if (this.#over) return
    this.#leave(constants.NGHTTP2_CANCEL)
  }

  #connect(failure: string = 'the upstream has no node with a weight above 0'): void {
    const upstream = this.#upstream
    const node = upstream.pick(this.#tried)
    if (node === undefined) {
      queueMicrotask(() => this.#fail(GrpcStatus.Unavailable, failure))
      return
    }
    this.#node = node
    this.#tried.push(node)
    const target = {
      scheme: upstream.scheme,
      host: node.host,
      port: node.port,
      tls: upstream.tls,
      connectionKey: upstream.connectionKey,
      serverName: upstream.serverNameFor(node),
      connectTimeout: upstream.timeouts(undefined).connect
    }
    this.#unwait = this.#connections.get(target, (error, connection) => {
      this.#unwait = undefined
      if (this.#over) return
      if (connection !== undefined) {
        this.#start(connection, node)
        return
      }
      upstream.report(node, 'tcp failure')
      if (this.#tried.length > upstream.retries) {
        this.#fail(GrpcStatus.Unavailable, error!.message)
        return
      }
      this.#release()
      this.#connect(error!.message)
    })
  }

  #release(): void {
    if (this.#node !== undefined) this.#upstream.release(this.#node)
    this.#node = undefined
  }

  #start(connection: Http2Connection, node: UpstreamNode): void {
    const upstream = this.#upstream
    const authority = upstream.hostFor(node, '')
    let stream: ClientHttp2Stream
    try {
      stream = connection.request(grpcHeaders(this.#call, upstream.scheme, authority))
    } catch (error) {
      this.#fail(GrpcStatus.Internal, (error as Error).message)
      return
    }
    this.#connection = connection
    this.#stream = stream
    stream.on('response', (headers, flags, ...rest) => {
      upstream.report(node, headers[':status']!)
      this.#httpStatus = headers[':status']!
      this.#response(metadataOf(rawOf(rest)), (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0)
    })
    stream.on('trailers', (_trailers, _flags, ...rest) => {
      this.#trailers = metadataOf(rawOf(rest))
    })
    stream.on('error', (error) => this.#lost(error.message))
    stream.on('close', () => this.#complete())
    this.#flush()
  }

  /** One write at a time: however small the messages, nothing is held for each. */
  #flush(): void {
    const stream = this.#stream
    if (stream === undefined || this.#writing || this.#over) return
    if (this.#waiting.size > 0) {
      this.#writing = true
      stream.write(this.#waiting.take(), () => {
        this.#writing = false
        this.#flush()
      })
    } else if (this.#halfClosed) {
      stream.end()
    }
  }

  #response(metadata: string[], endStream: boolean): void {
    if (this.#over) return
    const stream = this.#stream!
    if (endStream && statusIn(metadata) !== undefined) {
      // "Trailers-only": what looks like headers are the trailers. Envoy then has empty initial metadata.
      this.#trailers = metadata
      this.#events.initialMetadata([])
    } else {
      this.#events.initialMetadata(metadata)
      if (this.#over) return
      if (this.#httpStatus !== 200) {
        this.#fail(statusOfHttp(this.#httpStatus), `the upstream answered ${this.#httpStatus}`)
        return
      }
    }
    // Not before: Node hands out data that came with the headers ahead of these.
    stream.on('data', (chunk: Buffer) => this.#data(chunk))
    // Trailers that end the stream are told a moment after it has ended.
    stream.on('end', () => setImmediate(() => this.#complete()))
  }

  #data(chunk: Buffer): void {
    if (this.#over) return
    let messages: Buffer[]
    try {
      messages = this.#deframer.push(chunk)
    } catch (error) {
      this.#fail(GrpcStatus.Internal, (error as Error).message)
      return
    }
    for (const message of messages) {
      // The filter may cancel at any of them.
      if (this.#over) return
      this.#events.message(message)
    }
    if (this.#over || this.#events.holds(this.#deframer.partial)) return
    this.#fail(GrpcStatus.ResourceExhausted, 'the answers that are under way hold too much')
  }

  #complete(): void {
    if (this.#over) return
    const trailers = this.#trailers
    if (trailers === undefined) {
      this.#lost('the upstream ended the stream without a status')
      return
    }
    this.#events.trailingMetadata(trailers)
    if (this.#over) return
    const status = statusIn(trailers)
    if (status === undefined) this.#fail(GrpcStatus.Unknown, 'the trailers have no grpc-status')
    else if (status === 0 && this.#deframer.partial > 0)
      this.#fail(GrpcStatus.Internal, 'the last message is not complete')
    else {
      // The upstream may end an exchange before the filter does: what is open of that is ended here.
      this.#leave(constants.NGHTTP2_NO_ERROR)
      this.#events.close(status, messageIn(trailers))
    }
  }

  /** There is no status: the connection or the stream is gone, or was ended too soon. */
  #lost(reason: string): void {
    const code = this.#stream!.rstCode ?? 0
    if (this.#connection!.lost) this.#fail(GrpcStatus.Unavailable, reason)
    else if (code !== constants.NGHTTP2_NO_ERROR)
      this.#fail(statusOfReset(code), `the upstream reset the stream (${code})`)
    else this.#fail(GrpcStatus.Unknown, reason)
  }

  #fail(status: number, reason: string): void {
    if (this.#over) return
    this.#leave(constants.NGHTTP2_CANCEL)
    this.#warn(reason)
    this.#events.close(status, reason)
  }

  #leave(code: number): void {
    this.#over = true
    this.#waiting.clear()
    clearTimeout(this.#timer)
    this.#release()
    this.#unwait?.()
    const stream = this.#stream
    if (stream === undefined) return
    if (!stream.closed) stream.close(code)
    // What nobody reads would keep it from being closed.
    stream.resume()
  }
}

/** The list as it came, which Node hands over as the last argument, and its types do not have. */
function rawOf(rest: readonly unknown[]): readonly string[] {
  return (rest[0] ?? []) as string[]
}
