import { type ClientRequest, request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { FST_WASM_UPSTREAM_TIMEOUT, FST_WASM_UPSTREAM_UNAVAILABLE } from '../../errors.ts'
import { withLowerCaseNames } from '../hop-by-hop.ts'
import { isTimeout, type UpstreamResponse } from './attempt.ts'
import type { UpstreamRequest } from './client.ts'
import { tlsOptions } from './tls.ts'

/**
 * Sends a request that has trailers, to one node, over a connection of its own. Undici sends no trailers (version 7), so
 * these go by Node's own client.
 *
 * @param callback is called once, never before this has returned
 * @returns what aborts the request, or its response
 */
export function sendWithTrailers(
  request: UpstreamRequest,
  callback: (error: Error | null, response?: UpstreamResponse) => void
): () => void {
  const { upstream, trailers } = request
  const node = upstream.pick([], request.hashKey)
  if (node === undefined) {
    queueMicrotask(() => callback(new FST_WASM_UPSTREAM_UNAVAILABLE('the upstream has no node with a weight above 0')))
    return () => {}
  }
  const pairs: [string, string][] = []
  for (let i = 0; i < trailers.length; i += 2) pairs.push([trailers[i]!, trailers[i + 1]!])
  const headers = [...request.headers, 'host', upstream.hostFor(node, request.host)]
  headers.push('transfer-encoding', 'chunked', 'trailer', [...new Set(pairs.map(([name]) => name))].join(', '))
  request.onNode?.(node)
  const options = {
    host: node.host,
    port: node.port,
    method: request.method,
    path: request.path,
    agent: false,
    headers
  }
  let outgoing: ClientRequest
  try {
    outgoing =
      upstream.scheme === 'https'
        ? httpsRequest({ ...options, ...tlsOptions(upstream.tls, upstream.serverNameFor(node)) })
        : httpRequest(options)
  } catch (error) {
    upstream.release(node)
    queueMicrotask(() => callback(error as Error))
    return () => {}
  }
  let answered = false
  const fail = (error: Error) => {
    if (answered) return
    answered = true
    upstream.report(node, isTimeout(error) ? 'timeout' : 'tcp failure')
    callback(error)
  }
  outgoing.on('close', () => {
    upstream.release(node)
    // Node ends a connection that becomes a tunnel, or speaks another protocol, without an error.
    fail(new Error('it gave no answer'))
  })
  outgoing.on('error', fail)
  outgoing.on('response', (incoming) => {
    answered = true
    upstream.report(node, incoming.statusCode!)
    const received: string[] = []
    incoming.on('end', () => received.push(...withLowerCaseNames(incoming.rawTrailers)))
    callback(null, {
      statusCode: incoming.statusCode!,
      headers: withLowerCaseNames(incoming.rawHeaders),
      body: incoming,
      trailers: received
    })
  })
  outgoing.setTimeout(request.timeouts.read, () =>
    outgoing.destroy(new FST_WASM_UPSTREAM_TIMEOUT('it did not answer in time'))
  )
  outgoing.addTrailers(pairs)
  outgoing.end(request.body as Buffer | null)
  return () => {
    answered = true
    outgoing.destroy()
  }
}
