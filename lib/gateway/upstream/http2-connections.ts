import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from 'node:http2'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { type TlsSettings, tlsOptions } from './tls.ts'

/** How long a connection without streams is kept. */
const IDLE_MS = 30_000
/** Of these there are so many at most: a filter may call addresses without end. */
const MAX_IDLE = 64

export interface Http2Target {
  readonly scheme: 'http' | 'https'
  readonly host: string
  readonly port: number
  readonly tls: TlsSettings
  /** Tells apart what is asked of TLS. */
  readonly connectionKey: string
  /** Whom it must be for. */
  readonly serverName: string
  /** Milliseconds. */
  readonly connectTimeout: number
}

type Callback = (error: Error | null, connection?: Http2Connection) => void

/** HTTP/2 connections to nodes: one for each node and what of TLS is asked of it, made anew when it has ended. */
export class Http2Connections {
  readonly #connections: Map<string, Http2Connection> = new Map()

  /**
   * Calls back once, never before it has returned.
   *
   * @returns what to call when nobody waits any more: a connection that nobody else waits for is let go of
   */
  get(target: Http2Target, callback: Callback): () => void {
    const { scheme, host, port, connectionKey, serverName } = target
    const key = `${scheme} ${host} ${port} ${connectionKey} ${serverName}`
    let connection = this.#connections.get(key)
    if (connection === undefined || connection.ended) {
      const made = new Http2Connection(target)
      connection = made
      this.#connections.set(key, made)
      made.onEnd = () => {
        if (this.#connections.get(key) === made) this.#connections.delete(key)
      }
      made.onIdle = () => this.#closeOldest()
    }
    return connection.ready(callback)
  }

  #closeOldest(): void {
    if (this.#connections.size <= MAX_IDLE) return
    const idle = [...this.#connections.values()].filter((connection) => connection.isIdle)
    for (const connection of idle.slice(0, -MAX_IDLE)) connection.closeIdle()
  }

  close(): void {
    for (const connection of this.#connections.values()) connection.destroy()
  }
}

export class Http2Connection {
  /** Called when no more requests can be sent: those that are under way may go on. */
  onEnd: () => void = () => {}
  /** Called when no stream is on it. */
  onIdle: () => void = () => {}
  readonly #session: ClientHttp2Session
  /** Those who wait for the connection; `undefined` when it is there. */
  #waiting: Callback[] | undefined = []
  #streams = 0
  #idle: ReturnType<typeof setTimeout> | undefined

  constructor(target: Http2Target) {
    const { scheme, connectTimeout } = target
    const socket =
      scheme === 'https'
        ? connectTls({
            host: target.host,
            port: target.port,
            ALPNProtocols: ['h2'],
            ...tlsOptions(target.tls, target.serverName)
          })
        : connectTcp({ host: target.host, port: target.port })
    // The socket is made here, so that nothing of the address is read as a URL.
    const session = connect(`${scheme}://node`, { settings: { enablePush: false }, createConnection: () => socket })
    const timer = setTimeout(() => {
      session.destroy(new Error(`no connection in ${connectTimeout} ms`))
    }, connectTimeout)
    session.once('connect', () => {
      clearTimeout(timer)
      const waiting = this.#waiting ?? []
      this.#waiting = undefined
      for (const callback of waiting) callback(null, this)
      this.#idles()
    })
    // Requests that are under way fail with it by themselves.
    const end = (error: Error) => {
      clearTimeout(timer)
      clearTimeout(this.#idle)
      this.onEnd()
      const waiting = this.#waiting ?? []
      this.#waiting = []
      for (const callback of waiting) callback(error)
    }
    session.on('error', end)
    session.on('close', () => end(new Error('the connection was closed')))
    session.on('goaway', () => this.onEnd())
    // A filter's calls are no reason for the process to stay.
    session.unref()
    this.#session = session
  }

  /** Whether no more requests can be sent. */
  get ended(): boolean {
    return this.#session.closed || this.#session.destroyed
  }

  /** Whether it is gone, and every stream on it. After a GOAWAY the streams that are under way go on. */
  get lost(): boolean {
    return this.#session.destroyed
  }

  /** Whether it is there, and no stream is on it. */
  get isIdle(): boolean {
    return this.#idle !== undefined && !this.ended
  }

  /**
   * Calls back when there is a connection, or when there will be none.
   *
   * @returns what to call when that is not waited for any more
   */
  ready(callback: Callback): () => void {
    const waiting = this.#waiting
    if (waiting === undefined) queueMicrotask(() => callback(null, this))
    else waiting.push(callback)
    return () => {
      const at = waiting?.indexOf(callback) ?? -1
      if (at === -1 || this.#waiting !== waiting) return
      waiting!.splice(at, 1)
      if (waiting!.length === 0) this.destroy()
    }
  }

  /** @throws when headers are not what HTTP/2 allows */
  request(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    const stream = this.#session.request(headers, { endStream: false })
    clearTimeout(this.#idle)
    this.#idle = undefined
    this.#streams++
    stream.once('close', () => {
      this.#streams--
      this.#idles()
    })
    return stream
  }

  #idles(): void {
    if (this.#streams > 0 || this.ended) return
    this.#idle = setTimeout(() => this.closeIdle(), IDLE_MS).unref()
    this.onIdle()
  }

  closeIdle(): void {
    clearTimeout(this.#idle)
    this.onEnd()
    this.#session.close()
  }

  destroy(): void {
    this.#session.destroy()
  }
}
