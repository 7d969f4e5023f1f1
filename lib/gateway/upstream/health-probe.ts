import { type ClientRequest, request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect, type Socket } from 'node:net'
import type { Checks } from '../../config/schema.ts'
import type { UpstreamNode } from '../../config/validate.ts'
import type { Outcome } from './health-checks.ts'
import { tlsOptions } from './tls.ts'
import { millisecondsOf, type Upstream } from './upstream.ts'

type Active = Checks['active']

const TIMEOUT = 1

/** Asks one node whether it is well, over a connection of its own. Nothing that it answers is an error. */
export function probe(upstream: Upstream, node: UpstreamNode, active: Active): Promise<Outcome> {
  const milliseconds = millisecondsOf(active.timeout ?? TIMEOUT)
  return new Promise((resolve) => {
    const timer = setTimeout(() => end('timeout'), milliseconds)
    timer.unref()
    let asked: Socket | ClientRequest | undefined
    let over = false
    const end = (outcome: Outcome) => {
      if (over) return
      over = true
      clearTimeout(timer)
      resolve(outcome)
      asked?.destroy()
    }
    try {
      asked = active.type === 'tcp' ? connectTo(node, active) : ask(upstream, node, active)
    } catch {
      // What cannot be asked is not well.
      end('tcp failure')
      return
    }
    asked.on('error', () => end('tcp failure'))
    if (active.type === 'tcp') asked.on('connect', () => end('connected'))
    else asked.on('response', ({ statusCode }: { statusCode: number }) => end(statusCode))
  })
}

function connectTo(node: UpstreamNode, { port = node.port }: Active) {
  return connect({ host: node.host, port }).unref()
}

function ask(upstream: Upstream, node: UpstreamNode, active: Active) {
  const { port = node.port, host = upstream.authority({ ...node, port }) } = active
  const headers: string[] = ['host', host, 'connection', 'close']
  for (const header of active.req_headers ?? []) {
    const at = header.indexOf(':')
    headers.push(header.slice(0, at).trim(), header.slice(at + 1).trim())
  }
  const body = active.http_request_body
  if (body !== undefined) headers.push('content-length', String(Buffer.byteLength(body)))
  const options = {
    host: node.host,
    port,
    method: active.http_method ?? 'GET',
    path: active.http_path ?? '/',
    headers,
    agent: false
  }
  const serverName = active.host ?? upstream.serverNameFor(node)
  const verify = active.https_verify_certificate ?? true
  const asked =
    active.type === 'https'
      ? httpsRequest({ ...options, ...tlsOptions({ ...upstream.tls, verify }, serverName) })
      : httpRequest(options)
  asked.on('socket', (socket) => socket.unref())
  asked.end(body)
  return asked
}
