import type { HeaderMap } from './header-map.ts'

/** What a property may be. The host encodes it as Envoy does. */
export type PropertyValue =
  | string // bytes, one latin1 character each
  | Uint8Array // bytes
  | number // an integer, 8 bytes
  | bigint // a time or a duration in nanoseconds, 8 bytes
  | boolean // 1 byte
  | { readonly pairs: readonly string[] } // a map: name, value, …

/** What `proxy_send_local_response` asks for. */
export interface LocalResponse {
  readonly status: number
  /** name, value, …; names in lower case */
  readonly headers: readonly string[]
  readonly body: Buffer
  /** For the log, never for the client. */
  readonly details: string
  /** −1: none */
  readonly grpcStatus: number
}

/** Where the host writes lines: a pino logger, for one. */
export interface Logger {
  level?: string
  trace(fields: object, message: string): void
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  fatal(fields: object, message: string): void
}

/**
 * One HTTP exchange, as far as filters can see and change it: the boundary between the host, which calls it from the
 * host functions, and the gateway, which implements it. All filters of an exchange share one stream.
 */
export interface Stream {
  readonly log: Logger
  /** What its route is called, for the log. */
  readonly route?: string | undefined
  /** What it is an exchange of, for those who watch: Fastify's request. */
  readonly request?: object
  readonly requestHeaders: HeaderMap
  readonly responseHeaders: HeaderMap
  readonly requestTrailers: HeaderMap
  readonly responseTrailers: HeaderMap
  /** The local response or the reset that a filter asked for: the phase that is under way ends with it. */
  readonly interrupted: boolean
  /** @param path segments joined by one NUL */
  getProperty(path: string): PropertyValue | undefined
  /**
   * @param value is valid for as long as the call lasts
   * @returns false when there is no room for it
   */
  setProperty(path: string, value: Buffer): boolean
  /** Called from inside a callback; it takes effect after the callback has returned. */
  sendLocalResponse(response: LocalResponse): void
  /** Ends the exchange without a response. Called from inside a callback; takes effect after it. */
  reset(): void
}

/** A body, or the chunk of one, that a callback may read and change. */
export interface Body {
  bytes: Buffer
  changed: boolean
  /** Set when the filter wanted to make it longer than so many bytes, and may not: the exchange is to end. */
  limit?: number | undefined
}

/** What a filter hands to `proxy_http_call`. */
export interface HttpCall {
  /** The id of an upstream, or `host[:port]`. */
  readonly upstream: string
  /** name, value, …, pseudo-headers among them */
  readonly headers: readonly string[]
  readonly body: Buffer
  readonly trailers: readonly string[]
  /** Milliseconds for the whole call, 0: no limit. */
  readonly timeout: number
  /** Is told of what arrives of the answer, in bytes. @returns false when there is no room for it: the call has failed */
  received(bytes: number): boolean
}

/** The answer of an http call. */
export interface HttpCallResponse {
  /** name, value, …, `:status` first */
  readonly headers: string[]
  readonly body: Buffer
  readonly trailers: string[]
}

export type HttpCallDone = (response: HttpCallResponse | undefined, reason?: string) => void

/**
 * Sends http calls.
 *
 * `dispatch` answers `undefined` when nothing of that name can be called. Otherwise it answers a function that aborts
 * the call, and `done` is called exactly once, never before `dispatch` has returned: with the response, or with
 * `undefined` when there is none (refused, reset, timed out) and a short reason. It is not called after an abort.
 */
export interface HttpCallClient {
  dispatch(call: HttpCall, done: HttpCallDone): (() => void) | undefined
}

/** What a filter hands to `proxy_grpc_call` and `proxy_grpc_stream`. */
export interface GrpcCall {
  /** The id of an upstream, or `host[:port]`. */
  readonly upstream: string
  readonly service: string
  readonly method: string
  /** name, value, …; names in lower case, no pseudo-headers */
  readonly metadata: readonly string[]
  /** Milliseconds for the whole exchange, 0: no limit. */
  readonly timeout: number
}

/** What comes of an exchange, in this order but for `holds`; `close` exactly once and last, unless it is cancelled before. */
export interface GrpcEvents {
  /**
   * Is told how many bytes there are of a message that is not complete, when that has changed.
   *
   * @returns false when there is no room for them: the exchange has failed
   */
  holds(bytes: number): boolean
  /** @param metadata name, value, … */
  initialMetadata(metadata: readonly string[]): void
  message(message: Buffer): void
  /** @param metadata name, value, … */
  trailingMetadata(metadata: readonly string[]): void
  /** @param status gRPC's; also for what the exchange failed of: a connection that was refused, a timeout */
  close(status: number, message: string): void
}

/** The filter's side of an exchange. */
export interface GrpcStream {
  /** Bytes of messages that wait to be sent, with what frames them */
  readonly unsent: number
  /** @param endStream whether it is the last message */
  send(message: Buffer, endStream: boolean): void
  /** No more messages will be sent. */
  end(): void
  /** Ends the exchange. No event comes any more. */
  cancel(): void
}

/** Makes gRPC calls. `open` answers `undefined` when nothing of that name can be called; events never come before it. */
export interface GrpcClient {
  open(call: GrpcCall, events: GrpcEvents): GrpcStream | undefined
}
