import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { UpstreamNode } from '../../config/validate.ts'
import { FST_WASM_UPSTREAM_FAILED, FST_WASM_UPSTREAM_TIMEOUT, FST_WASM_UPSTREAM_UNAVAILABLE } from '../../errors.ts'
import { type Agents, failedToConnect } from './agents.ts'
import { Attempt, isTimeout, type UpstreamResponse } from './attempt.ts'
import { RequestInContext } from './in-context.ts'
import { OutgoingBody } from './outgoing-body.ts'
import { sendWithTrailers } from './trailing-call.ts'
import type { Timeouts, Upstream } from './upstream.ts'

export interface UpstreamRequest {
  readonly upstream: Upstream
  readonly method: string
  readonly path: string
  /** name, value, …, without `host` and what is hop-by-hop */
  readonly headers: readonly string[]
  /** The `host` of the client, for upstreams that it is passed to; may be empty */
  readonly host: string
  /** What consistent hashing chooses a node by */
  readonly hashKey?: string | undefined
  readonly body: Buffer | Readable | null
  readonly timeouts: Timeouts
  /** name, value, … behind the body, which then is no stream */
  readonly trailers: readonly string[]
  /** Is told of every node that is tried. */
  readonly onNode?: (node: UpstreamNode) => void
}

type Callback = (error: Error | null, response?: UpstreamResponse) => void

/** The connection broke when the node may have begun to act on the request. */
const BROKEN = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])

/**
 * Sends a request to a node of an upstream; when it cannot be connected to, to others, as far as `retries` allows. A
 * request that a node may have begun to act on goes to another one only when its method is idempotent, and none whose
 * streamed body has begun.
 *
 * One with trailers goes to one node alone.
 *
 * Calls back once, never before it has returned: with the response, or with FST_WASM_UPSTREAM_UNAVAILABLE (503), _FAILED
 * (502) or _TIMEOUT (504).
 *
 * @returns what aborts the request, or its response
 */
export function send(agents: Agents, request: UpstreamRequest, callback: Callback): () => void {
  if (request.trailers.length > 0) return sendWithTrailers(request, callback)
  const { upstream, body, timeouts } = request
  const tried: UpstreamNode[] = []
  const giveUpAt = performance.now() + upstream.retryTimeout
  const outgoing = body === null || Buffer.isBuffer(body) ? undefined : new OutgoingBody(body, timeouts.send)
  let aborted = false
  let current: Attempt | undefined
  attempt()
  return () => {
    aborted = true
    current?.abort(new Error('the request was aborted'))
  }

  function attempt(failure?: Error): void {
    const node = upstream.pick(tried, request.hashKey)
    if (node === undefined) {
      const reason = 'the upstream has no node with a weight above 0'
      const error = failure === undefined ? new FST_WASM_UPSTREAM_UNAVAILABLE(reason) : asGatewayError(failure)
      queueMicrotask(() => callback(error))
      return
    }
    tried.push(node)
    request.onNode?.(node)
    current = new Attempt(upstream, node, timeouts.read, outgoing, (error, response) => {
      if (error === null) callback(null, response)
      else if (mayRetry(error)) attempt(error)
      else callback(asGatewayError(error))
    })
    const serverName = upstream.scheme === 'https' ? upstream.serverNameFor(node) : undefined
    agents
      .get(upstream, timeouts.connect, serverName)
      .dispatch(optionsFor(request, node, outgoing), new RequestInContext(current))
  }

  function mayRetry(error: Error & { code?: string }): boolean {
    if (aborted || outgoing?.begun) return false
    if (tried.length > upstream.retries || performance.now() >= giveUpAt) return false
    return failedToConnect(error) || (BROKEN.has(error.code ?? '') && IDEMPOTENT.has(request.method))
  }
}

function optionsFor(
  request: UpstreamRequest,
  node: UpstreamNode,
  outgoing: OutgoingBody | undefined
): Dispatcher.DispatchOptions {
  const { upstream } = request
  const host = node.host.includes(':') ? `[${node.host}]` : node.host
  return {
    origin: `${upstream.scheme}://${host}:${node.port}`,
    path: request.path,
    method: request.method as Dispatcher.HttpMethod,
    headers: ['host', upstream.hostFor(node, request.host), ...request.headers],
    body: outgoing === undefined ? (request.body as Buffer | null) : (outgoing.chunks() as unknown as Readable),
    // An attempt has timers of its own: undici's fire up to a second late.
    headersTimeout: 0,
    bodyTimeout: 0,
    // Otherwise undici takes the `host` header for it, and connects anew when that changes.
    ...(upstream.scheme === 'https' && { servername: upstream.serverNameFor(node) })
  }
}

/** What a failure towards an upstream is for the client: 504 when time ran out, else 502. */
export function asGatewayError(error: Error & { code?: string }): Error & { statusCode?: number } {
  if (error instanceof FST_WASM_UPSTREAM_TIMEOUT || error instanceof FST_WASM_UPSTREAM_FAILED) return error
  const reason = error.code ?? error.message
  if (isTimeout(error)) return new FST_WASM_UPSTREAM_TIMEOUT(reason, { cause: error })
  return new FST_WASM_UPSTREAM_FAILED(reason, { cause: error })
}
