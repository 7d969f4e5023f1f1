import type { FastifyRequest } from 'fastify'
import type { CallbackMessage, GrpcCallMessage, HttpCallMessage, Observer } from '../../host/index.ts'
import { type Exchange, Progress } from '../exchange.ts'
import { exchangeOf } from '../hooks.ts'
import { type HeaderChange, headerChanges } from './header-changes.ts'
import { Latency } from './latency.ts'
import { collectSecrets, shownUrl, withoutSecrets } from './redaction.ts'
import { type RecordedCall, type RecordedCallback, RequestRecord } from './request-record.ts'

/** The requests that are kept: the last ones. */
export const MAX_REQUESTS = 100
/** Changes of headers that are kept of one callback. */
const MAX_CHANGES = 64
/** In these a filter changes no header any more. */
const WITHOUT_HEADERS: ReadonlySet<string> = new Set(['proxy_on_done', 'proxy_on_log', 'proxy_on_delete'])

type CallMessage = HttpCallMessage | GrpcCallMessage

/** A request that is under way. */
interface Recording {
  readonly record: RequestRecord
  readonly exchange: Exchange
  /** By `performance.now` */
  readonly startedAt: number
  readonly secrets: Set<string>
}

/** A callback that is under way. */
interface Running {
  readonly message: CallbackMessage
  readonly recording: Recording | undefined
  readonly before: ReturnType<Exchange['snapshot']> | undefined
  readonly startedAt: number
}

/** The last failure of a plugin. */
export interface LastFailure {
  /** Milliseconds since the epoch */
  readonly at: number
  readonly callback: string
  readonly message: string
}

/** Watches what filters do, and keeps what the last requests were like. */
export class Recorder implements Observer {
  /** By plugin */
  readonly latencies: Map<string, Latency> = new Map()
  readonly failures: Map<string, LastFailure> = new Map()
  /** How many changes there were of all records. */
  version = 0
  /** The oldest first. */
  readonly #records: RequestRecord[] = []
  readonly #recordings: WeakMap<object, Recording> = new WeakMap()
  readonly #calls: WeakMap<CallMessage, { readonly call: RecordedCall; readonly recording: Recording }> = new WeakMap()
  /** Callbacks stand in each other where a host function leads to another instance. */
  readonly #running: Running[] = []
  #lastId = 0

  /** The newest first. */
  get records(): RequestRecord[] {
    return [...this.#records].reverse()
  }

  callbackStarts(message: CallbackMessage): void {
    const recording = this.#recordingOf(message.request)
    const isShown = recording !== undefined && !recording.exchange.closed && !WITHOUT_HEADERS.has(message.callback)
    const before = isShown ? recording.exchange.snapshot() : undefined
    if (before?.responseHeaders !== undefined) collectSecrets(before.responseHeaders, recording!.secrets)
    this.#running.push({ message, recording, before, startedAt: performance.now() })
  }

  callbackEnds(message: CallbackMessage): void {
    const now = performance.now()
    const running = this.#running.pop()!
    const { recording, before, startedAt } = running
    const milliseconds = now - startedAt
    const time = Date.now()
    this.#latencyOf(message.plugin).add(milliseconds, time)
    if (message.error !== undefined) {
      const { message: reason } = (message.error.cause as Error | undefined) ?? message.error
      this.failures.set(message.plugin, { at: time, callback: message.callback, message: reason.slice(0, 500) })
    }
    if (recording === undefined) return
    const { record, exchange } = recording
    const after = before === undefined ? undefined : exchange.snapshot()
    const changes =
      before === undefined || after === undefined
        ? []
        : [
            ...headerChanges('request', before.requestHeaders, after.requestHeaders),
            ...headerChanges('response', before.responseHeaders ?? [], after.responseHeaders ?? [])
          ]
    if (changes.length > 0) {
      const { secrets } = recording
      const { size } = secrets
      collectSecrets(after!.requestHeaders, secrets)
      collectSecrets(after!.responseHeaders ?? [], secrets)
      // It may have logged what it has set.
      if (secrets.size > size) record.changeLines((line) => withoutSecrets(line, secrets))
    }
    if (changes.length > MAX_CHANGES) record.isCut = true
    record.add({
      kind: 'callback',
      at: startedAt - recording.startedAt,
      plugin: message.plugin,
      callback: message.callback,
      context: message.context,
      milliseconds,
      action: actionOf(message, exchange, before?.interrupted ?? true),
      changes: changes.slice(0, MAX_CHANGES).map((change) => record.cutChange(hidden(change, recording.secrets))),
      error: message.error && record.cut(withoutSecrets(message.error.message, recording.secrets))
    })
    if (exchange.progress !== Progress.Request) record.status = exchange.reply.statusCode
    this.#changed(record)
  }

  httpCallStarts(message: HttpCallMessage): void {
    const { headers } = message
    const method = headers[headers.indexOf(':method') + 1] ?? ''
    this.#callStarts(message, headers, method, headers[headers.indexOf(':path') + 1] ?? '')
  }

  grpcCallStarts(message: GrpcCallMessage): void {
    this.#callStarts(message, message.metadata, 'gRPC', `/${message.service}/${message.method}`)
  }

  #callStarts(message: CallMessage, headers: readonly string[], method: string, path: string): void {
    const recording = this.#recordingOf(message.request)
    if (recording === undefined) return
    const { record, secrets } = recording
    collectSecrets(headers, secrets)
    const call: RecordedCall = {
      kind: 'call',
      at: performance.now() - recording.startedAt,
      plugin: message.plugin,
      upstream: record.cut(withoutSecrets(message.upstream, secrets)),
      method: record.cut(method),
      path: record.cut(withoutSecrets(path, secrets)),
      milliseconds: undefined,
      status: undefined,
      error: undefined
    }
    record.add(call)
    this.#calls.set(message, { call, recording })
    this.#changed(record)
  }

  httpCallEnds(message: HttpCallMessage, headers: readonly string[]): void {
    this.#callEnds(message, headers)
  }

  grpcCallEnds(message: GrpcCallMessage): void {
    this.#callEnds(message)
  }

  #callEnds(message: CallMessage, headers: readonly string[] = []): void {
    const made = this.#calls.get(message)
    if (made === undefined) return
    const { call, recording } = made
    collectSecrets(headers, recording.secrets)
    call.milliseconds = performance.now() - recording.startedAt - call.at
    call.status = message.status
    call.error = message.error && recording.record.cut(withoutSecrets(message.error.message, recording.secrets))
    this.#changed(recording.record)
  }

  logged(plugin: string, request: object | undefined, level: string, line: string): void {
    const recording = this.#recordingOf(request)
    if (recording === undefined) return
    const { record, secrets, startedAt } = recording
    if (record.isFull) {
      record.isCut = true
      return
    }
    const at = performance.now() - startedAt
    record.add({ kind: 'log', at, plugin, level, line: record.cut(withoutSecrets(line, secrets)) })
    this.#changed(record)
  }

  /** What is recorded of a request; nothing once it is over: what filters do later is not a part of it. */
  #recordingOf(request: object | undefined): Recording | undefined {
    if (request === undefined) return undefined
    const known = this.#recordings.get(request)
    if (known !== undefined) return known.record.isOver || known.record.isDropped ? undefined : known
    const exchange = exchangeOf(request as FastifyRequest)
    return exchange === null ? undefined : this.#begin(exchange)
  }

  #begin(exchange: Exchange): Recording {
    const { request, reply } = exchange
    const now = performance.now()
    const { method, url } = request.raw
    const path = shownUrl(url ?? '')
    const record = new RequestRecord(++this.#lastId, Date.now(), method ?? '', path, exchange.route)
    const recording = { record, exchange, startedAt: now, secrets: new Set<string>() }
    collectSecrets(exchange.requestHeaders.entries(), recording.secrets)
    collectQuery(url ?? '', recording.secrets)
    this.#recordings.set(request, recording)
    this.#records.push(record)
    if (this.#records.length > MAX_REQUESTS) this.#records.shift()!.drop()
    // After the exchange's own listener, in which its filters are told of the end.
    reply.raw.once('close', () => {
      // The head of a websocket's answer does not go through Node's response, and nothing ends it.
      const isUpgraded = reply.raw.statusCode === 101
      record.status = reply.raw.headersSent || isUpgraded ? reply.raw.statusCode : undefined
      record.aborted = !reply.raw.writableFinished && !isUpgraded
      record.milliseconds = performance.now() - now
      recording.secrets.clear()
      this.#changed(record)
    })
    return recording
  }

  #latencyOf(plugin: string): Latency {
    let latency = this.latencies.get(plugin)
    if (latency === undefined) {
      latency = new Latency()
      this.latencies.set(plugin, latency)
    }
    return latency
  }

  #changed(record: RequestRecord): void {
    record.version = ++this.version
  }
}

function actionOf(
  { callback, result, error }: CallbackMessage,
  exchange: Exchange,
  wasInterrupted: boolean
): RecordedCallback['action'] {
  if (error !== undefined) return 'failed'
  if (!wasInterrupted && exchange.interrupted) return exchange.wasReset ? 'reset' : 'answer'
  if (!/_(?:headers|body|trailers)$/.test(callback)) return undefined
  return result === 1 ? 'pause' : 'continue'
}

/** Without what is secret elsewhere in the request, and stands under a name that is harmless. */
function hidden(change: HeaderChange, secrets: ReadonlySet<string>): HeaderChange {
  const shown = (text: string | undefined) => (text === undefined ? undefined : withoutSecrets(text, secrets))
  return { ...change, before: shown(change.before), after: shown(change.after) }
}

function collectQuery(url: string, secrets: Set<string>): void {
  const at = url.indexOf('?')
  if (at === -1) return
  const parameters = new URLSearchParams(url.slice(at + 1))
  const headers: string[] = []
  for (const [name, value] of parameters) headers.push(name, value)
  collectSecrets(headers, secrets)
}
