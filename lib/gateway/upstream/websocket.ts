import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Socket } from 'node:net'
import type { UpstreamNode } from '../../config/validate.ts'
import { FST_WASM_UPSTREAM_FAILED, FST_WASM_UPSTREAM_TIMEOUT, FST_WASM_UPSTREAM_UNAVAILABLE } from '../../errors.ts'
import { isTimeout } from './attempt.ts'
import { asGatewayError, type UpstreamRequest } from './client.ts'
import { tlsOptions } from './tls.ts'

/** What a node has said to a request for a websocket. */
export interface WebsocketAnswer {
  /** Its head, and where it is not 101 its body. */
  readonly response: IncomingMessage
  /** The connection, where it is 101. */
  readonly tunnel: { readonly socket: Socket; readonly head: Buffer } | undefined
}

type Callback = (error: Error | null, answer?: WebsocketAnswer) => void

/**
 * Asks a node of an upstream for a websocket, over a connection of its own; when it cannot be connected to, others, as far as
 * `retries` allows.
 *
 * @param request its body and trailers are not sent
 * @param callback is called once, never before this has returned
 * @returns what aborts the request, and closes the connection
 */
export function openWebsocket(request: UpstreamRequest, callback: Callback): () => void {
  const { upstream, timeouts } = request
  const tried: UpstreamNode[] = []
  const giveUpAt = performance.now() + upstream.retryTimeout
  let outgoing: ClientRequest | undefined
  let aborted = false
  attempt()
  return () => {
    aborted = true
    outgoing?.destroy()
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
    ask(node)
  }

  function ask(node: UpstreamNode): void {
    let connected = false
    let asked: ClientRequest
    try {
      asked = dispatch(request, node)
    } catch (error) {
      upstream.release(node)
      queueMicrotask(() => callback(asGatewayError(error as Error)))
      return
    }
    outgoing = asked
    const late = (what: string) => asked.destroy(new FST_WASM_UPSTREAM_TIMEOUT(what))
    let timer = setTimeout(() => late('it did not connect in time'), timeouts.connect)
    asked.on('socket', (socket) => {
      socket.once(upstream.scheme === 'https' ? 'secureConnect' : 'connect', () => {
        connected = true
        clearTimeout(timer)
        timer = setTimeout(() => late('it did not answer in time'), timeouts.read)
      })
      socket.on('close', () => upstream.release(node))
    })
    const answer = (response: IncomingMessage, tunnel: WebsocketAnswer['tunnel']) => {
      clearTimeout(timer)
      upstream.report(node, response.statusCode!)
      // As nginx: a connection on which nothing passes either way is closed.
      tunnel?.socket.setTimeout(timeouts.read, () => tunnel.socket.destroy())
      callback(null, { response, tunnel })
    }
    asked.on('upgrade', (response, socket, head) => answer(response, { socket: socket as Socket, head }))
    asked.on('response', (response) => {
      // Fastify sends no other.
      if (response.statusCode! <= 599) answer(response, undefined)
      else asked.destroy(new FST_WASM_UPSTREAM_FAILED(`it answered the status ${response.statusCode}`))
    })
    asked.on('error', (error) => {
      clearTimeout(timer)
      if (!aborted) upstream.report(node, isTimeout(error) ? 'timeout' : 'tcp failure')
      const mayRetry = !aborted && !connected && tried.length <= upstream.retries && performance.now() < giveUpAt
      if (mayRetry) attempt(error)
      else callback(asGatewayError(error))
    })
    asked.end()
  }
}

function dispatch(request: UpstreamRequest, node: UpstreamNode): ClientRequest {
  const { upstream, method, path } = request
  const headers = ['host', upstream.hostFor(node, request.host), ...request.headers]
  headers.push('connection', 'upgrade', 'upgrade', 'websocket')
  const options = { host: node.host, port: node.port, method, path, headers, agent: false }
  return upstream.scheme === 'https'
    ? httpsRequest({ ...options, ...tlsOptions(upstream.tls, upstream.serverNameFor(node)) })
    : httpRequest(options)
}
