import type { FastifyRequest } from 'fastify'
import { HeaderList, isHeader } from '../host/header-map.ts'
import { isHopByHop } from './hop-by-hop.ts'
import { forgetContentType } from './route-context.ts'

const COLON = 58
const PSEUDO_HEADERS = [':method', ':path', ':authority', ':scheme']
/** Where the value of `:authority` stands in the list: the pseudo-headers come first, in this order, and stay. */
const AUTHORITY_AT = 5

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
 *
 * As long as there is no list, `request.raw.headers` says what there is: most filters ask for a header or two, and add some.
 */
export class RequestHeaders extends HeaderList {
  readonly #request: FastifyRequest
  readonly #raw: FastifyRequest['raw']
  /** What was added while there was no list: name, value, … */
  #added: string[] | undefined
  /** The same by name, as `headers` has been given it: name, all values, … */
  #shown: string[] | undefined

  constructor(request: FastifyRequest) {
    super(undefined, PSEUDO_HEADERS)
    this.#request = request
    this.#raw = request.raw
  }

  override get size(): number {
    if (this.isBuilt) return super.size
    const { rawHeaders, headers } = this.#raw
    // HTTP/2 has the pseudo-headers among the others.
    if (headers[':path'] === undefined && saysWhatCame(headers, rawHeaders, this.#shown ?? NOTHING)) {
      const listed = (rawHeaders.length + (this.#added ?? NOTHING).length) / 2
      return PSEUDO_HEADERS.length + (headers.host === undefined ? listed : listed - 1)
    }
    const size = super.size
    this.list = undefined
    return size
  }

  override get(name: string): string | undefined {
    if (this.isBuilt) return super.get(name)
    if (name === ':method') return this.#raw.method
    if (name === ':path') return this.#raw.url
    if (isShown(name)) {
      const value = this.#raw.headers[name]
      if (value === undefined) return undefined
      // Node joins the values of a header that is repeated.
      if (typeof value === 'string' && (SINGLE.has(name) || !this.#isRepeated(name))) return value
    }
    return super.get(name)
  }

  override add(name: string, value: string): boolean {
    const { headers, rawHeaders } = this.#raw
    if (this.isBuilt || !this.writable || !isPlain(name) || timesOf(name, rawHeaders) > 0) return super.add(name, value)
    const shown = this.#shown
    const at = shown === undefined ? -1 : indexOfName(shown, name)
    if (headers[name] !== (at === -1 ? undefined : shown![at + 1])) return super.add(name, value)
    if (at !== -1 && (name === 'cookie' || SINGLE.has(name))) return super.add(name, value)
    if (!isHeader(name, value)) return false
    const all = at === -1 ? value : `${shown![at + 1]}, ${value}`
    headers[name] = all
    // Lists that are given what is in them take no more memory than that.
    if (shown === undefined) this.#shown = [name, all]
    else if (at === -1) shown.push(name, all)
    else shown[at + 1] = all
    if (this.#added === undefined) this.#added = [name, value]
    else this.#added.push(name, value)
    return true
  }

  protected override build(): string[] {
    const list = listOf(this.#request)
    if (this.#added !== undefined) for (const text of this.#added) list.push(text)
    this.list = list
    this.reconcile()
    return this.list
  }

  #isRepeated(name: string): boolean {
    return timesOf(name, this.#raw.rawHeaders) + (this.#added === undefined ? 0 : timesOf(name, this.#added)) > 1
  }

  /**
   * Takes over what the application's own hooks have changed in `request.raw.headers`, which is where they add what an
   * upstream is to see, and take away what it is not.
   */
  reconcile(): void {
    if (!this.isBuilt) return
    const { headers } = this.#raw
    const { list } = this
    if (saysTheSame(list, headers)) return
    const names = new Set<string>()
    for (let i = 0; i < list.length; i += 2) names.add(list[i]!)
    for (const name of names) {
      if (!isShown(name)) continue
      const shown = headers[name]
      if (isSame(grouped(name, this.getAll(name)), shown)) continue
      this.list = this.list.filter((_, i, all) => all[i - (i % 2)] !== name)
      this.#take(name, shown)
    }
    for (const name in headers) if (!names.has(name) && isShown(name)) this.#take(name, headers[name])
    const authority = headers[':authority'] ?? headers.host
    if (typeof authority === 'string') this.list[AUTHORITY_AT] = authority
  }

  #take(name: string, value: string | string[] | undefined): void {
    if (value === undefined) return
    for (const item of [value].flat()) this.list.push(name, String(item))
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
      case ':path': {
        // Where `request.originalUrl` looks for it, as others who rewrite the url leave it.
        const raw = this.#raw as FastifyRequest['raw'] & { originalUrl?: string }
        raw.originalUrl ??= raw.url as string
        raw.url = this.get(':path')!
        if (':path' in headers) headers[':path'] = this.get(':path')
        return
      }
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
    if (name === 'content-type') forgetContentType(this.#request)
    const values = this.getAll(name)
    if (values.length === 0) {
      // The framing of what comes from the client stays the parser's business: by it Fastify knows that there is a body.
      if (name !== 'transfer-encoding' && name !== 'content-length') delete headers[name]
    } else if (!isHopByHop(name) && name !== 'content-length') {
      headers[name] = grouped(name, values)
    }
  }
}

/** Whether nothing has changed, as is nearly always so; repeated headers are left to a closer look. */
function saysTheSame(list: readonly string[], headers: FastifyRequest['raw']['headers']): boolean {
  let entries = 0
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!
    if (headers[name] === list[i + 1]) {
      if (standsBefore(name, list, i)) return false
      entries++
    } else if (isShown(name)) return false
  }
  for (const _ in headers) entries--
  // The host stands in the list under another name.
  return (
    entries === (headers[':authority'] === undefined ? -1 : 0) &&
    list[AUTHORITY_AT] === (headers[':authority'] ?? headers.host)
  )
}

function standsBefore(name: string, list: readonly string[], end: number): boolean {
  for (let i = 0; i < end; i += 2) if (list[i] === name) return true
  return false
}

/** As Node groups the values of a header in `headers`. */
function grouped(name: string, values: readonly string[]): string | string[] {
  if (name === 'set-cookie') return [...values]
  if (values.length === 1 || SINGLE.has(name)) return values[0]!
  return values.join(name === 'cookie' ? '; ' : ', ')
}

/** Whether the list and `headers` are to say the same: not of framing, and not of pseudo-headers. */
function isShown(name: string): boolean {
  return !isHopByHop(name) && name !== 'content-length' && name !== 'host' && name.charCodeAt(0) !== COLON
}

/** Whether a header may be added to `headers` alone, where there is none of its name. */
function isPlain(name: string): boolean {
  return isShown(name) && name !== 'content-type' && name !== 'set-cookie'
}

const NOTHING: readonly string[] = []

/**
 * Whether `headers` is what came, each header once, and what was added: Node puts the values there in their order.
 *
 * @param added name, value, …
 */
function saysWhatCame(
  headers: FastifyRequest['raw']['headers'],
  rawHeaders: readonly string[],
  added: readonly string[]
): boolean {
  const { length } = rawHeaders
  let i = 0
  for (const name in headers) {
    const came = i < length
    const listed = came ? rawHeaders[i] : added[i - length]
    if (listed !== name && !(came && listed!.toLowerCase() === name)) return false
    if (headers[name] !== (came ? rawHeaders[i + 1] : added[i + 1 - length])) return false
    i += 2
  }
  return i === length + added.length
}

function indexOfName(list: readonly string[], name: string): number {
  for (let i = 0; i < list.length; i += 2) if (list[i] === name) return i
  return -1
}

/** How often a name stands in a list, which may have it in capitals. */
function timesOf(name: string, list: readonly string[]): number {
  let times = 0
  for (let i = 0; i < list.length; i += 2) {
    const other = list[i]!
    if (other.length === name.length && (other === name || other.toLowerCase() === name)) times++
  }
  return times
}

function isSame(one: string | string[], other: string | string[] | undefined): boolean {
  if (one === other) return true
  return (
    Array.isArray(one) && Array.isArray(other) && one.length === other.length && one.every((v, i) => v === other[i])
  )
}

function listOf(request: FastifyRequest): string[] {
  const { raw } = request
  const { rawHeaders } = raw
  const authority = (raw.headers[':authority'] as string | undefined) ?? raw.headers.host ?? ''
  const list = [':method', raw.method!, ':path', raw.url!, ':authority', authority, ':scheme', request.protocol]
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    // HTTP/2 has the pseudo-headers among the others.
    if (name !== 'host' && name.charCodeAt(0) !== COLON) list.push(name, rawHeaders[i + 1]!)
  }
  return list
}
