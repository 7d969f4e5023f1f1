import type { FastifyReply } from 'fastify'
import { HeaderList, isHeader } from '../host/header-map.ts'
import { isHopByHop } from './hop-by-hop.ts'
import { isBuffered } from './payload.ts'
import { replyHeaders } from './route-context.ts'

const COLON = 58
const PSEUDO_HEADERS = [':status']

/**
 * The headers of a response. They may be written from the first request callback on, and go onto whatever response
 * follows; they can be read once there is one.
 */
export class ResponseHeaders extends HeaderList {
  override readable: boolean = false
  /** Whether a filter wrote a byte above 0x7f. */
  highBytes = false
  readonly #reply: FastifyReply
  /** What Fastify is to send. */
  #payload: unknown
  /** Whether Node has been given the headers of a stream, which it sends with the first bytes: Fastify's own go nowhere then. */
  #isHandedOver = false
  /** Whether filters see the body: nobody knows any more how long it will be. */
  #isOpen = false
  #isPuttingBack = false

  constructor(reply: FastifyReply) {
    super(undefined, PSEUDO_HEADERS)
    this.#reply = reply
  }

  /** The response is there, with what it has for a body. */
  begin(payload: unknown): void {
    this.list = undefined
    this.readable = true
    this.#payload = payload
  }

  override get size(): number {
    const reply = this.#reply
    if (this.isBuilt || reply.raw.getHeaderNames().length > 0) return super.size
    const headers = replyHeaders(reply)
    let count = 1
    for (const name in headers) {
      const value = headers[name]
      count += Array.isArray(value) ? value.length : 1
    }
    return headers['content-length'] === undefined && isBuffered(this.#payload) ? count + 1 : count
  }

  override get(name: string): string | undefined {
    if (this.isBuilt || name === 'content-length') return super.get(name)
    if (name.charCodeAt(0) === COLON) return name === ':status' ? String(this.#reply.statusCode) : undefined
    const value: unknown = this.#reply.getHeader(name)
    if (value === undefined || typeof value === 'string') return value
    return typeof value === 'number' ? String(value) : super.get(name)
  }

  /** What is there now, from the first moment on; `undefined` when the head is sent. */
  snapshot(): string[] | undefined {
    return this.#prepare() ? [...this.list] : undefined
  }

  putBack(saved: readonly string[] | undefined): void {
    if (saved === undefined || !this.#prepare()) return
    this.#isPuttingBack = true
    this.restore(saved)
    this.#isPuttingBack = false
  }

  /** Filters will see the body, which may become another one. */
  openBody(): void {
    const reply = this.#reply
    this.#isOpen = true
    reply.removeHeader('content-length')
    if (isBuffered(this.#payload)) return
    reply.raw.once('pipe', () => {
      this.#isHandedOver = true
    })
  }

  override add(name: string, value: string): boolean {
    if (!this.#prepare()) return false
    const reply = this.#reply
    if (this.isBuilt || !this.writable || this.#isHandedOver || !isPlain(name)) return super.add(name, value)
    const present = replyHeaders(reply)[name]
    // What stands on Node's response is for the list, and so is what is no text.
    if (present === undefined) {
      if (reply.raw.hasHeader(name)) return super.add(name, value)
    } else if (!isText(present)) {
      return super.add(name, value)
    }
    if (!isHeader(name, value)) return false
    if (hasHighByte(value)) this.highBytes = true
    // A list may be the application's own, which stays as it is.
    if (present === undefined) reply.header(name, value)
    else reply.header(name, typeof present === 'string' ? [present, value] : [...present, value])
    return true
  }

  override replace(name: string, value: string): boolean {
    return this.#prepare() && super.replace(name, value)
  }

  override remove(name: string): boolean {
    return this.#prepare() && super.remove(name)
  }

  override assign(pairs: readonly string[]): boolean {
    return this.#prepare() && super.assign(pairs)
  }

  /** Whether there is still something to write to: the head of a stream is sent while its body passes the filters. */
  #prepare(): boolean {
    if (this.#reply.raw.headersSent) return false
    // Before the response is there, the application goes on writing to it.
    if (!this.readable) this.list = undefined
    return true
  }

  protected override changed(name: string): void {
    const reply = this.#reply
    if (name === ':status') {
      // Fastify's own setter refuses what lies above 599.
      reply.raw.statusCode = Number(this.get(':status'))
      return
    }
    const values = this.getAll(name)
    // The framing is Fastify's business; a filter may only take a length away, since it will change the body.
    if (values.length > 0 && (isHopByHop(name) || (name === 'content-length' && !this.#putsLengthBack))) return
    removeHeader(reply, name)
    if (values.length > 0) {
      const value = values.length === 1 ? values[0]! : values
      reply.header(name, value)
      if (this.#isHandedOver) reply.raw.setHeader(name, value)
    }
    for (const value of values) if (hasHighByte(value)) this.highBytes = true
  }

  /** Of a stream: of what is there as a whole Fastify says the length itself. */
  get #putsLengthBack(): boolean {
    return this.#isPuttingBack && !this.#isOpen && !isBuffered(this.#payload)
  }

  /** From the reply, which the application's own hooks and handler write to. */
  protected override build(): string[] {
    const reply = this.#reply
    const list = [':status', String(reply.statusCode)]
    let hasLength = false
    for (const [key, value] of Object.entries(reply.getHeaders())) {
      const name = key.toLowerCase()
      if (Array.isArray(value)) for (const item of value) list.push(name, String(item))
      else list.push(name, String(value))
      if (name === 'content-length') hasLength = true
    }
    // Fastify sets the length of a string or a buffer when no hook can see it any more.
    if (!hasLength && this.readable && isBuffered(this.#payload)) {
      list.push('content-length', String(Buffer.byteLength(this.#payload ?? '')))
    }
    return list
  }
}

/** Whether a header may be added to the reply alone, where there is none of its name. */
function isPlain(name: string): boolean {
  return name.charCodeAt(0) !== COLON && name !== 'content-length' && name !== 'set-cookie' && !isHopByHop(name)
}

function hasHighByte(value: string): boolean {
  for (let i = 0; i < value.length; i++) if (value.charCodeAt(i) > 0x7f) return true
  return false
}

/** Whether it is a text, or texts. */
function isText(value: unknown): value is string | string[] {
  if (typeof value === 'string') return true
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

/** Removes a header wherever it was set: on the reply, or on Node's response below it. */
export function removeHeader(reply: FastifyReply, name: string): void {
  reply.removeHeader(name)
  if (!reply.raw.headersSent && reply.raw.hasHeader(name)) reply.raw.removeHeader(name)
}
