import { hostname } from 'node:os'
import type { FastifyRequest } from 'fastify'
import type { UpstreamNode } from '../config/validate.ts'
import type { Body, HeaderMap, PropertyValue } from '../host/index.ts'
import { routeContext } from './route-context.ts'
import { socketOf, TLS_ATTRIBUTES } from './tls-attributes.ts'

/** One request and its response, as far as properties tell of them. */
export interface DescribedExchange {
  readonly request: FastifyRequest
  readonly requestHeaders: HeaderMap & { getAll(name: string): string[] }
  readonly responseHeaders: HeaderMap
  readonly hasRequestBody: boolean
  readonly requestBody: Body | undefined
  /** By `Date.now()` */
  readonly startedAt: number
  /** Milliseconds, when the exchange is over. */
  readonly duration: number | undefined
  readonly responseDetails: string | undefined
  readonly upstreamNode: UpstreamNode | undefined
  readonly plan: { readonly upstream: { readonly name: string | undefined } | undefined }
}

export type Property = (exchange: DescribedExchange) => PropertyValue | undefined

export const header =
  (name: string): Property =>
  (exchange) =>
    exchange.requestHeaders.get(name)

const path: Property = (exchange) => exchange.requestHeaders.get(':path')
export const urlPath: Property = (exchange) => exchange.requestHeaders.get(':path')?.split('?', 1)[0]
export const protocol: Property = (exchange) => `HTTP/${exchange.request.raw.httpVersion}`
const routeName: Property = (exchange) => routeContext(exchange.request).config.url

export function query(exchange: DescribedExchange): string | undefined {
  const url = exchange.requestHeaders.get(':path')!
  const at = url.indexOf('?')
  return at === -1 ? undefined : url.slice(at + 1)
}

function endpoint(address: string | undefined, port: number | undefined): string | undefined {
  if (address === undefined) return undefined
  return address.includes(':') ? `[${address}]:${port ?? 0}` : `${address}:${port ?? 0}`
}

/** The length that the request announces; of a chunked body, when a filter has had it read. */
const requestSize: Property = (exchange) => {
  const announced = Number(exchange.request.raw.headers['content-length'])
  if (Number.isSafeInteger(announced)) return announced
  return exchange.hasRequestBody ? exchange.requestBody?.bytes.length : 0
}

/** Connections have numbers of their own, from 1 on. */
const connections: WeakMap<object, number> = new WeakMap()
let lastConnection = 0
const connectionId: Property = (exchange) => {
  const socket = socketOf(exchange)
  let id = connections.get(socket)
  if (id === undefined) {
    id = ++lastConnection
    connections.set(socket, id)
  }
  return id
}

const status: Property = (exchange) =>
  exchange.responseHeaders.readable ? Number(exchange.responseHeaders.get(':status')) : undefined

/** Envoy's attributes that an HTTP request has in Node. Segments are joined by a NUL. */
export const ATTRIBUTES: Readonly<Record<string, Property>> = {
  'request.path': path,
  'request.url_path': urlPath,
  'request.query': (exchange) => query(exchange) ?? '',
  'request.host': header(':authority'),
  'request.scheme': header(':scheme'),
  'request.method': header(':method'),
  'request.protocol': protocol,
  'request.id': (exchange) => exchange.requestHeaders.get('x-request-id') ?? String(exchange.request.id),
  'request.referer': header('referer'),
  'request.useragent': header('user-agent'),
  'request.headers': (exchange) => ({ pairs: exchange.requestHeaders.entries() }),
  'request.time': (exchange) => BigInt(exchange.startedAt) * 1_000_000n,
  'request.duration': (exchange) =>
    exchange.duration === undefined ? undefined : BigInt(Math.round(exchange.duration * 1e6)),
  'request.size': requestSize,
  'request.total_size': (exchange) => {
    const body = requestSize(exchange)
    if (typeof body !== 'number') return undefined
    const { raw } = exchange.request
    // The request line, and every header with its colon, blank and line end.
    let size = `${raw.method} ${raw.url} HTTP/1.1\r\n\r\n`.length + body
    for (const text of raw.rawHeaders) size += text.length + 2
    return size
  },
  'response.code': status,
  // Envoy's own flags (no healthy upstream, …): none of them arises here.
  'response.flags': (exchange) => (exchange.responseHeaders.readable ? 0 : undefined),
  'response.size': (exchange) => {
    const length = exchange.responseHeaders.readable ? exchange.responseHeaders.get('content-length') : undefined
    return length === undefined ? undefined : Number(length)
  },
  'response.code_details': (exchange) => exchange.responseDetails,
  'response.grpc_status': (exchange) => {
    const { responseHeaders } = exchange
    const value = responseHeaders.readable ? responseHeaders.get('grpc-status') : undefined
    return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined
  },
  'response.headers': (exchange) =>
    exchange.responseHeaders.readable ? { pairs: exchange.responseHeaders.entries() } : undefined,
  'source.address': (exchange) => endpoint(socketOf(exchange).remoteAddress, socketOf(exchange).remotePort),
  'source.port': (exchange) => socketOf(exchange).remotePort,
  'destination.address': (exchange) => endpoint(socketOf(exchange).localAddress, socketOf(exchange).localPort),
  'destination.port': (exchange) => socketOf(exchange).localPort,
  'connection.id': connectionId,
  connection_id: connectionId,
  ...TLS_ATTRIBUTES,
  'upstream.address': ({ upstreamNode }) => upstreamNode && endpoint(upstreamNode.host, upstreamNode.port),
  'upstream.port': ({ upstreamNode }) => upstreamNode?.port,
  cluster_name: ({ plan }) => plan.upstream?.name,
  'xds.cluster_name': ({ plan }) => plan.upstream?.name,
  'xds.route_name': routeName,
  'node.id': () => hostname(),
  'node.cluster': () => 'fastify-wasm-gateway',
  'node.user_agent_name': () => 'fastify-wasm-gateway',
  // 1: inbound
  listener_direction: () => 1,
  route_name: routeName
}
