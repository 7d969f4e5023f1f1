import type { FastifyRequest } from 'fastify'
import { HeaderList, isHeader } from '../host/header-map.ts'
import { HOP_BY_HOP } from './hop-by-hop.ts'
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
  /** How many of these have the name of one that was there. */
  #addedAgain = 0
  /** How many came that are shown; NaN when some are repeated, or there are too many to see that. */
  #shown = 0
  /** How many others came; −1: not counted yet. */
  #hidden = -1

  constructor(request: FastifyRequest) {
    super(undefined, PSEUDO_HEADERS)
    this.#request = request
    this.#raw = request.raw
  }

  override get size(): number {
    if (this.isBuilt) return super.size
    if (this.#hidden === -1) this.#count()
    const shown = this.#shown + (this.#added === undefined ? 0 : this.#added.length / 2)
    // Where the application has added or taken away some, or some came repeated, it takes a closer look.
    if (shown - this.#addedAgain !== countShown(this.#raw.headers)) return super.size
    if (this.#addedAgain > 0 && !this.#hasAllAdded()) return super.size
    return PSEUDO_HEADERS.length + shown + this.#hidden
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
    const present = headers[name]
    const isAgain = present !== undefined
    const isGrouped = isAgain && (name === 'cookie' || SINGLE.has(name))
    if (isGrouped || !this.#hasAdded(name, present)) return super.add(name, value)
    if (!isHeader(name, value)) return false
    headers[name] = isAgain ? `${present}, ${value}` : value
    if (isAgain) this.#addedAgain++
    this.#added ??= []
    this.#added.push(name, value)
    return true
  }

  protected override build(): string[] {
    const list = listOf(this.#request)
    if (this.#added !== undefined) for (const text of this.#added) list.push(text)
    this.list = list
    this.reconcile()
    return this.list
  }

  #count(): void {
    const { rawHeaders } = this.#raw
    this.#shown = rawHeaders.length > FEW * 2 ? Number.NaN : 0
    this.#hidden = 0
    for (let i = 0; i < rawHeaders.length && !Number.isNaN(this.#shown); i += 2) {
      const name = rawHeaders[i]!.toLowerCase()
      if (isShown(name)) this.#shown++
      else if (name !== 'host' && name.charCodeAt(0) !== COLON) this.#hidden++
      for (let j = 0; j < i; j += 2) {
        const other = rawHeaders[j]!
        if (other.length === name.length && other.toLowerCase() === name) this.#shown = Number.NaN
      }
    }
  }

  /** Whether what is there is what was added, and nothing else. */
  #hasAdded(name: string, present: unknown): boolean {
    if (this.#added === undefined) return present === undefined
    let values: string | undefined
    for (let i = 0; i < this.#added.length; i += 2) {
      if (this.#added[i] === name)
        values = values === undefined ? this.#added[i + 1] : `${values}, ${this.#added[i + 1]}`
    }
    return values === present
  }

  #hasAllAdded(): boolean {
    for (let i = 0; i < this.#added!.length; i += 2) {
      const name = this.#added![i]!
      if (!this.#hasAdded(name, this.#raw.headers[name])) return false
    }
    return true
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
    } else if (!HOP_BY_HOP.has(name) && name !== 'content-length') {
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
  return !HOP_BY_HOP.has(name) && name !== 'content-length' && name !== 'host' && name.charCodeAt(0) !== COLON
}

/** Whether a header may be added to `headers` alone, where there is none of its name. */
function isPlain(name: string): boolean {
  return isShown(name) && name !== 'content-type' && name !== 'set-cookie'
}

/** So many names are compared with each other; with more of them a list is as fast. */
const FEW = 20

function countShown(headers: FastifyRequest['raw']['headers']): number {
  let count = 0
  for (const name in headers) if (isShown(name)) count++
  return count
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
