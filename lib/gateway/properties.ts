import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { PropertyValue } from '../host/index.ts'
import type { Exchange } from './exchange.ts'
import { routeContext } from './route-context.ts'

type Property = (exchange: Exchange) => PropertyValue | undefined

const header =
  (name: string): Property =>
  (exchange) =>
    exchange.requestHeaders.get(name)

const path: Property = (exchange) => exchange.requestHeaders.get(':path')
const urlPath: Property = (exchange) => exchange.requestHeaders.get(':path')?.split('?', 1)[0]
const protocol: Property = (exchange) => `HTTP/${exchange.request.raw.httpVersion}`
const remoteAddress: Property = (exchange) => exchange.request.ip
const host: Property = (exchange) => exchange.requestHeaders.get(':authority')?.replace(/:\d+$/, '').toLowerCase()

function query(exchange: Exchange): string | undefined {
  const url = exchange.requestHeaders.get(':path')!
  const at = url.indexOf('?')
  return at === -1 ? undefined : url.slice(at + 1)
}

function socketOf(exchange: Exchange): Socket & Partial<TLSSocket> {
  return exchange.request.raw.socket as Socket & Partial<TLSSocket>
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
const connections: WeakMap<Socket, number> = new WeakMap()
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
const ATTRIBUTES: Record<string, Property> = {
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
  'response.code': status,
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
  'connection.mtls': (exchange) => socketOf(exchange).authorized === true,
  'connection.requested_server_name': (exchange) => {
    const { servername } = socketOf(exchange) as { servername?: string | false }
    return servername || undefined
  },
  'connection.tls_version': (exchange) => socketOf(exchange).getProtocol?.() ?? undefined,
  // 1: inbound
  listener_direction: () => 1,
  route_name: (exchange) => routeContext(exchange.request).config.url
}

/** APISIX's names, those of nginx's variables, for the same request. */
const VARIABLES: Record<string, Property> = {
  remote_addr: remoteAddress,
  remote_port: (exchange) => String(socketOf(exchange).remotePort ?? ''),
  server_addr: (exchange) => socketOf(exchange).localAddress,
  server_port: (exchange) => String(socketOf(exchange).localPort ?? ''),
  server_protocol: protocol,
  host,
  scheme: header(':scheme'),
  https: (exchange) => (exchange.requestHeaders.get(':scheme') === 'https' ? 'on' : ''),
  uri: urlPath,
  document_uri: urlPath,
  // What came, whatever a filter has made of the path.
  request_uri: (exchange) => exchange.request.originalUrl,
  request_method: header(':method'),
  args: query,
  query_string: query,
  is_args: (exchange) => (query(exchange) ? '?' : ''),
  content_type: header('content-type'),
  content_length: header('content-length'),
  // Seconds since the first byte, to the millisecond.
  request_time: (exchange) => ((exchange.duration ?? Date.now() - exchange.startedAt) / 1000).toFixed(3),
  request_id: (exchange) => String(exchange.request.id),
  status: (exchange) => (exchange.responseHeaders.readable ? exchange.responseHeaders.get(':status') : undefined)
}

const TABLE: ReadonlyMap<string, Property> = new Map([
  ...Object.entries(ATTRIBUTES).map(([name, property]) => [name.replaceAll('.', '\0'), property] as const),
  ...Object.entries(VARIABLES)
])

const REQUEST_HEADER = 'request\0headers\0'
const RESPONSE_HEADER = 'response\0headers\0'

/**
 * A property of the exchange that is not one that a filter set.
 *
 * @param name segments joined by a NUL
 */
export function builtInProperty(exchange: Exchange, name: string): PropertyValue | undefined {
  const property = TABLE.get(name)
  if (property !== undefined) return property(exchange)
  if (name.startsWith(REQUEST_HEADER)) {
    return exchange.requestHeaders.get(name.slice(REQUEST_HEADER.length).toLowerCase())
  }
  if (name.startsWith(RESPONSE_HEADER)) {
    const { responseHeaders } = exchange
    return responseHeaders.readable ? responseHeaders.get(name.slice(RESPONSE_HEADER.length).toLowerCase()) : undefined
  }
  if (name.startsWith('arg_')) return argument(exchange, name.slice(4))
  if (name.startsWith('http_')) return exchange.requestHeaders.get(headerName(name, 5))
  if (name.startsWith('sent_http_') && exchange.responseHeaders.readable) {
    return exchange.responseHeaders.get(headerName(name, 10))
  }
  if (name.startsWith('cookie_')) return cookie(exchange, name.slice(7))
  return undefined
}

/** `http_x_a` is the header `x-a`. */
function headerName(variable: string, prefix: number): string {
  return variable.slice(prefix).toLowerCase().replaceAll('_', '-')
}

/** As it stands in the query, not decoded, as nginx answers it. */
function argument(exchange: Exchange, name: string): string | undefined {
  for (const pair of query(exchange)?.split('&') ?? []) {
    const at = pair.indexOf('=')
    if ((at === -1 ? pair : pair.slice(0, at)) === name) return at === -1 ? '' : pair.slice(at + 1)
  }
  return undefined
}

function cookie(exchange: Exchange, name: string): string | undefined {
  for (const value of exchange.requestHeaders.getAll('cookie')) {
    for (const pair of value.split(';')) {
      const at = pair.indexOf('=')
      if (at !== -1 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim()
    }
  }
  return undefined
}
