import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel'
import type { Logger } from './stream.ts'

/** A call into a module, as those see it who watch it. */
export interface CallbackMessage {
  readonly plugin: string
  /** The export: `proxy_on_request_headers`, … */
  readonly callback: string
  /** The id of the context that it is called for */
  readonly context: number
  /** The id of the plugin context that this one is in; its own */
  readonly rootContext: number
  /** What `Stream.request` says of the exchange that it is for, if it is for one: in Fastify its request */
  readonly request: object | undefined
  /** What it returned: an action (0 goes on, 1 pauses), or a boolean; absent where there is nothing, and when it failed */
  result?: number
  /** Its parameters behind the context: for headers how many, for bodies how many bytes, and whether the stream ends */
  readonly parameters: readonly (number | undefined)[]
  /** Why it failed */
  error?: Error
}

/** An http call of a filter, as those see it who watch it. */
export interface HttpCallMessage {
  readonly plugin: string
  /** The ids of the contexts that made it */
  readonly context: number
  readonly rootContext: number
  /** As in `CallbackMessage` */
  readonly request: object | undefined
  readonly upstream: string
  /** name, value, …, pseudo-headers first; what is added when it starts, is sent */
  readonly headers: string[]
  /** The status of its answer */
  status?: number
  /** Why there is no answer */
  error?: Error
}

/** A gRPC call of a filter, or a stream that it has opened, as those see it who watch it. */
export interface GrpcCallMessage {
  readonly plugin: string
  /** The ids of the contexts that made it */
  readonly context: number
  readonly rootContext: number
  /** As in `CallbackMessage` */
  readonly request: object | undefined
  readonly upstream: string
  readonly service: string
  readonly method: string
  /** name, value, …; what is added when it starts, is sent */
  readonly metadata: string[]
  /** gRPC's, with which it was closed; none where it was not sent, or was cancelled */
  status?: number
  /** Why it was not closed with 0 */
  error?: Error
}

// Both parameters are the message: their order is not the same in all versions of @types/node.

/** `start`, `end`, and `error` when it failed. */
export const callbackChannel: TracingChannel<CallbackMessage, CallbackMessage> = tracingChannel<
  CallbackMessage,
  CallbackMessage
>('fastify-wasm-gateway:callback')
/** `start` and `end` when it is sent; `asyncStart` and `asyncEnd` around the answer's callback; `error` without an answer. */
export const httpCallChannel: TracingChannel<HttpCallMessage, HttpCallMessage> = tracingChannel<
  HttpCallMessage,
  HttpCallMessage
>('fastify-wasm-gateway:http_call')

/** The same; `asyncStart` and `asyncEnd` are around the callback for its end: the answer of a call, the close of a stream. */
export const grpcCallChannel: TracingChannel<GrpcCallMessage, GrpcCallMessage> = tracingChannel<
  GrpcCallMessage,
  GrpcCallMessage
>('fastify-wasm-gateway:grpc_call')

/** Watches the instances of a plugin, as the subscribers of the channels do, and their log. Nothing of it may throw. */
export interface Observer {
  callbackStarts?(message: CallbackMessage): void
  callbackEnds?(message: CallbackMessage): void
  httpCallStarts?(message: HttpCallMessage): void
  /**
   * Answered, failed, or aborted: then there is neither a status nor an error.
   *
   * @param headers those of the answer: name, value, …
   */
  httpCallEnds?(message: HttpCallMessage, headers: readonly string[]): void
  grpcCallStarts?(message: GrpcCallMessage): void
  grpcCallEnds?(message: GrpcCallMessage): void
  /** @param request as in `CallbackMessage` */
  logged?(plugin: string, request: object | undefined, level: Exclude<keyof Logger, 'level'>, line: string): void
}

/**
 * Sends a call while its start is told on a channel.
 *
 * @param send answers the id of the call
 * @param refused is called when there is none: it was not sent, and has ended
 */
export function tellStart<Message extends object>(
  channel: TracingChannel<Message, Message>,
  message: Message,
  send: () => number | undefined,
  refused: () => void
): number | undefined {
  return channel.start.runStores(message, () => {
    const id = send()
    channel.end.publish(message)
    if (id === undefined) refused()
    return id
  })
}

/**
 * Tells on a channel that a call has ended.
 *
 * @param answer what that leads to, which is done meanwhile
 */
export function tellEnd<Message extends object & { readonly error?: Error }>(
  channel: TracingChannel<Message, Message>,
  message: Message,
  answer: () => void
): void {
  if (message.error !== undefined) channel.error.publish(message)
  channel.asyncStart.runStores(message, () => {
    answer()
    channel.asyncEnd.publish(message)
  })
}
