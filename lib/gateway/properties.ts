import type { PropertyValue } from '../host/index.ts'
import { ATTRIBUTES, type DescribedExchange, header, type Property, protocol, query, urlPath } from './attributes.ts'
import { socketOf } from './tls-attributes.ts'

const remoteAddress: Property = (exchange) => exchange.request.ip
const host: Property = (exchange) => exchange.requestHeaders.get(':authority')?.replace(/:\d+$/, '').toLowerCase()

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
export function builtInProperty(exchange: DescribedExchange, name: string): PropertyValue | undefined {
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
function argument(exchange: DescribedExchange, name: string): string | undefined {
  for (const pair of query(exchange)?.split('&') ?? []) {
    const at = pair.indexOf('=')
    if ((at === -1 ? pair : pair.slice(0, at)) === name) return at === -1 ? '' : pair.slice(at + 1)
  }
  return undefined
}

function cookie(exchange: DescribedExchange, name: string): string | undefined {
  for (const value of exchange.requestHeaders.getAll('cookie')) {
    for (const pair of value.split(';')) {
      const at = pair.indexOf('=')
      if (at !== -1 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim()
    }
  }
  return undefined
}
