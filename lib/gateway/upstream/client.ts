import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { UpstreamNode } from '../../config/validate.ts'
import { FST_WASM_UPSTREAM_FAILED, FST_WASM_UPSTREAM_TIMEOUT, FST_WASM_UPSTREAM_UNAVAILABLE } from '../../errors.ts'
import type { Agents } from './agents.ts'
import type { Timeouts, Upstream } from './upstream.ts'

export interface UpstreamRequest {
  readonly upstream: Upstream
  readonly method: string
  readonly path: string
  /** name, value, …, without `host` and what is hop-by-hop */
  readonly headers: readonly string[]
  /** The `host` of the client, for upstreams that it is passed to */
  readonly host: string
  readonly body: Buffer | Readable | null
  readonly timeouts: Timeouts
  readonly signal: AbortSignal
}

export interface UpstreamResponse {
  readonly statusCode: number
  /** name, value, …, names in lower case */
  readonly headers: string[]
  readonly body: Readable
  /** Complete when the body has ended */
  readonly trailers: Record<string, string | string[]>
}

type Callback = (error: Error | null, response?: UpstreamResponse) => void

const TIMEOUTS = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
  'FST_WASM_UPSTREAM_TIMEOUT'
])
/** After these the node may have begun to act on the request. */
const AFTER_SENDING = new Set([
  'UND_ERR_SOCKET',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ECONNRESET',
  'EPIPE',
  'FST_WASM_UPSTREAM_TIMEOUT'
])
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])

/**
 * Sends a request to a node of an upstream; when it cannot be connected to, to others, as far as `retries` allows. A
 * request that a node may have begun to act on goes to another one only when its method is idempotent, and none whose
 * streamed body has begun.
 *
 * Calls back once, never before it has returned: with the response, or with FST_WASM_UPSTREAM_UNAVAILABLE (503), _FAILED
 * (502) or _TIMEOUT (504).
 */
export function send(agents: Agents, request: UpstreamRequest, callback: Callback): void {
  const { upstream, body } = request
  const tried: UpstreamNode[] = []
  const outgoing = body === null || Buffer.isBuffer(body) ? undefined : new OutgoingBody(body, request.timeouts.send)
  attempt()

  function attempt(): void {
    const node = upstream.pick(tried)
    if (node === undefined) {
      const reason = 'the upstream has no node with a weight above 0'
      queueMicrotask(() => callback(new FST_WASM_UPSTREAM_UNAVAILABLE(reason)))
      return
    }
    tried.push(node)
    const agent = agentFor(agents, request, node)
    const options = optionsFor(request, node, outgoing)
    agent.request(options, (error, response) => {
      if (error === null) callback(null, responseOf(response))
      else if (mayRetry(error)) attempt()
      else callback(asGatewayError(outgoing?.failure ?? error))
    })
  }

  function mayRetry(error: Error & { code?: string }): boolean {
    if (request.signal.aborted || outgoing?.begun) return false
    if (tried.length > upstream.retries || tried.length >= upstream.size) return false
    const code = error.code ?? ''
    if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED') {
      return false
    }
    return !AFTER_SENDING.has(code) || IDEMPOTENT.has(request.method)
  }
}

function agentFor(agents: Agents, { upstream, timeouts }: UpstreamRequest, node: UpstreamNode): Dispatcher {
  const serverName = upstream.scheme === 'https' ? upstream.serverNameFor(node) : undefined
  return agents.get(timeouts.connect, upstream.verify, serverName)
}

function optionsFor(
  request: UpstreamRequest,
  node: UpstreamNode,
  outgoing: OutgoingBody | undefined
): Dispatcher.RequestOptions {
  const { upstream, timeouts } = request
  const host = node.host.includes(':') ? `[${node.host}]` : node.host
  return {
    origin: `${upstream.scheme}://${host}:${node.port}`,
    path: request.path,
    method: request.method as Dispatcher.HttpMethod,
    headers: ['host', upstream.hostFor(node, request.host), ...request.headers],
    body: outgoing === undefined ? (request.body as Buffer | null) : (outgoing.chunks() as unknown as Readable),
    headersTimeout: timeouts.read,
    bodyTimeout: timeouts.read,
    signal: outgoing === undefined ? request.signal : AbortSignal.any([request.signal, outgoing.signal]),
    responseHeaders: 'raw',
    // Otherwise undici takes the `host` header for it, and connects anew when that changes.
    ...(upstream.scheme === 'https' && { servername: upstream.serverNameFor(node) })
  }
}

function responseOf({ statusCode, headers, body, trailers }: Dispatcher.ResponseData): UpstreamResponse {
  // `responseHeaders: 'raw'` answers a flat list, of the bytes as latin1.
  const list = headers as unknown as string[]
  for (let i = 0; i < list.length; i += 2) list[i] = list[i]!.toLowerCase()
  return { statusCode, headers: list, body, trailers: trailers as Record<string, string | string[]> }
}

/** What a failure towards an upstream is for the client: 504 when time ran out, else 502. */
export function asGatewayError(error: Error & { code?: string }): Error & { statusCode?: number } {
  if (error instanceof FST_WASM_UPSTREAM_TIMEOUT) return error
  const reason = error.code ?? error.message
  if (TIMEOUTS.has(error.code ?? '')) return new FST_WASM_UPSTREAM_TIMEOUT(reason, { cause: error })
  return new FST_WASM_UPSTREAM_FAILED(reason, { cause: error })
}

/**
 * A streamed body on its way to a node. The source is not touched before the node takes the first chunk, so that another
 * node can still be tried, and is not destroyed with the connection: it is the client's request.
 */
class OutgoingBody {
  begun = false
  failure: Error | undefined
  readonly #source: Readable
  readonly #timeout: number
  readonly #controller: AbortController = new AbortController()

  /** @param timeout milliseconds between two writes */
  constructor(source: Readable, timeout: number) {
    this.#source = source
    this.#timeout = timeout
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  async *chunks(): AsyncGenerator<Buffer> {
    this.begun = true
    for await (const chunk of this.#source.iterator({ destroyOnReturn: false })) {
      const timer = setTimeout(() => {
        this.failure = new FST_WASM_UPSTREAM_TIMEOUT('it did not take the request in time')
        this.#controller.abort(this.failure)
      }, this.#timeout)
      try {
        yield chunk
      } finally {
        clearTimeout(timer)
      }
    }
  }
}
