import type { FastifyRequest } from 'fastify'
import { HeaderList } from '../host/header-map.ts'
import { HOP_BY_HOP } from './hop-by-hop.ts'

const PSEUDO_HEADERS = [':method', ':path', ':authority', ':scheme']

/** Of these Node keeps the first value when one is repeated (`message.headers` of its documentation). */
const SINGLE = new Set([
  'age',
  'authorization',
  'content-length',
  'content-type',
  'etag',
  'expires',
  'from',
  'if-modified-since',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'referer',
  'retry-after',
  'server',
  'user-agent'
])

/**
 * The headers of a request: read from what came (`rawHeaders`, so repeated headers stay repeated), written to the list
 * and to `request.headers`, where the application sees them. Upstreams are sent the list.
 */
export class RequestHeaders extends HeaderList {
  readonly #raw: FastifyRequest['raw']

  constructor(request: FastifyRequest) {
    super(listOf(request), PSEUDO_HEADERS)
    this.#raw = request.raw
  }

  /** The length of a body that was changed, which the host of the filter decides and no filter. */
  setContentLength(length: number): void {
    const value = String(length)
    this.replace('content-length', value)
    this.remove('transfer-encoding')
    this.#raw.headers['content-length'] = value
    delete this.#raw.headers['transfer-encoding']
  }

  protected override changed(name: string): void {
    const { headers } = this.#raw
    switch (name) {
      case ':path':
        this.#raw.url = this.get(':path')!
        if (':path' in headers) headers[':path'] = this.get(':path')
        return
      case ':authority': {
        const authority = this.get(':authority')!
        if ('host' in headers || !(':authority' in headers)) headers.host = authority
        if (':authority' in headers) headers[':authority'] = authority
        return
      }
      case ':method':
      case ':scheme':
        return
    }
    const values = this.getAll(name)
    if (values.length === 0) {
      // The framing of what comes from the client stays the parser's business.
      if (name !== 'transfer-encoding') delete headers[name]
    } else if (!HOP_BY_HOP.has(name) && name !== 'content-length') {
      // Grouped as Node groups them.
      if (name === 'set-cookie') headers['set-cookie'] = values
      else if (values.length === 1 || SINGLE.has(name)) headers[name] = values[0]
      else headers[name] = values.join(name === 'cookie' ? '; ' : ', ')
    }
  }
}

function listOf(request: FastifyRequest): string[] {
  const { raw } = request
  const { rawHeaders } = raw
  const authority = (raw.headers[':authority'] as string | undefined) ?? raw.headers.host ?? ''
  const list = [':method', raw.method!, ':path', raw.url!, ':authority', authority, ':scheme', request.protocol]
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    // HTTP/2 has the pseudo-headers among the others.
    if (name !== 'host' && name.charCodeAt(0) !== 58 /* : */) list.push(name, rawHeaders[i + 1]!)
  }
  return list
}
