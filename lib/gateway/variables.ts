import { hostname } from 'node:os'
import type { FastifyRequest } from 'fastify'
import { hostName } from './routes/host-name.ts'
import { normalizePath } from './routes/normalize-path.ts'

type Variable = (request: FastifyRequest) => string | undefined

const queryOf: Variable = ({ url }) => {
  const at = url.indexOf('?')
  return at === -1 ? undefined : url.slice(at + 1)
}
const path: Variable = ({ url }) => normalizePath(url)
const text = (value: number | undefined): string | undefined => (value === undefined ? undefined : String(value))

/** nginx's names, for a request whose route is not chosen yet. */
const VARIABLES: ReadonlyMap<string, Variable> = new Map<string, Variable>([
  ['uri', path],
  ['document_uri', path],
  ['request_uri', ({ originalUrl }) => originalUrl],
  ['args', queryOf],
  ['query_string', queryOf],
  ['is_args', (request) => (queryOf(request) ? '?' : '')],
  ['host', ({ host }) => (host === undefined ? undefined : hostName(host))],
  ['server_name', ({ host }) => (host === undefined ? undefined : hostName(host))],
  ['hostname', () => hostname()],
  ['http_host', ({ headers }) => headers.host],
  ['scheme', ({ protocol }) => protocol],
  ['https', ({ protocol }) => (protocol === 'https' ? 'on' : '')],
  ['request_method', ({ method }) => method],
  ['method', ({ method }) => method],
  ['remote_addr', ({ ip }) => ip],
  ['remote_port', ({ socket }) => text(socket.remotePort)],
  ['server_addr', ({ socket }) => socket.localAddress],
  ['server_port', ({ socket }) => text(socket.localPort)],
  ['server_protocol', ({ raw }) => `HTTP/${raw.httpVersion}`],
  ['content_type', ({ headers }) => headers['content-type']],
  ['content_length', ({ headers }) => headers['content-length']],
  ['request_id', ({ id }) => String(id)]
])

/**
 * The value of one of nginx's variables: those above, `arg_x`, `http_x`, `cookie_x`.
 *
 * @returns `undefined` where the request has no such thing, and for variables that are not known
 */
export function variableOf(request: FastifyRequest, name: string): string | undefined {
  const variable = VARIABLES.get(name)
  if (variable !== undefined) return variable(request)
  if (name.startsWith('arg_')) return argument(queryOf(request), name.slice(4))
  if (name.startsWith('http_')) return headerOf(request, name.slice(5).toLowerCase().replaceAll('_', '-'))
  if (name.startsWith('cookie_')) return cookie(request.headers.cookie, name.slice(7))
  return undefined
}

/** A header's values, in one text. */
export function headerOf({ headers }: FastifyRequest, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value.join(', ') : value
}

/** As it stands in the query, not decoded, as nginx answers it. */
function argument(query: string | undefined, name: string): string | undefined {
  for (const pair of query?.split('&') ?? []) {
    const at = pair.indexOf('=')
    if ((at === -1 ? pair : pair.slice(0, at)) === name) return at === -1 ? '' : pair.slice(at + 1)
  }
  return undefined
}

/** The value of a cookie of a `cookie` header. */
export function cookie(header: string | undefined, name: string): string | undefined {
  for (const pair of header?.split(';') ?? []) {
    const at = pair.indexOf('=')
    if (at !== -1 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim()
  }
  return undefined
}
