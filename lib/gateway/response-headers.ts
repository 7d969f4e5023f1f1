import type { FastifyReply } from 'fastify'
import { HeaderList } from '../host/header-map.ts'
import { HOP_BY_HOP } from './hop-by-hop.ts'

const PSEUDO_HEADERS = [':status']
const HIGH_BYTE = /[\x80-\xff]/

/**
 * The headers of a response. They may be written from the first request callback on, and go onto whatever response
 * follows; they can be read once there is one.
 */
export class ResponseHeaders extends HeaderList {
  override readable: boolean = false
  /** Whether a filter wrote a byte above 0x7f. */
  highBytes = false
  readonly #reply: FastifyReply

  constructor(reply: FastifyReply) {
    super([], PSEUDO_HEADERS)
    this.#reply = reply
  }

  /** The response is there. */
  begin(contentLength: number | undefined): void {
    this.#load()
    this.readable = true
    // Fastify sets the length of a string or a buffer when no hook can see it any more.
    if (contentLength !== undefined && this.get('content-length') === undefined) {
      this.list.push('content-length', String(contentLength))
    }
  }

  /** What is there now, from the first moment on; `undefined` when the head is sent. */
  snapshot(): string[] | undefined {
    return this.#prepare() ? [...this.list] : undefined
  }

  putBack(saved: readonly string[] | undefined): void {
    if (saved !== undefined && this.#prepare()) this.restore(saved)
  }

  override add(name: string, value: string): boolean {
    return this.#prepare() && super.add(name, value)
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
    if (!this.readable) this.#load()
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
    if (values.length > 0 && (HOP_BY_HOP.has(name) || name === 'content-length')) return
    removeHeader(reply, name)
    if (values.length === 1) reply.header(name, values[0])
    else if (values.length > 1) reply.header(name, values)
    for (const value of values) if (HIGH_BYTE.test(value)) this.highBytes = true
  }

  /** From the reply, which the application's own hooks and handler write to. */
  #load(): void {
    const reply = this.#reply
    const list = [':status', String(reply.statusCode)]
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (Array.isArray(value)) for (const item of value) list.push(name.toLowerCase(), String(item))
      else list.push(name.toLowerCase(), String(value))
    }
    this.list = list
  }
}

/** Removes a header wherever it was set: on the reply, or on Node's response below it. */
export function removeHeader(reply: FastifyReply, name: string): void {
  reply.removeHeader(name)
  if (!reply.raw.headersSent && reply.raw.hasHeader(name)) reply.raw.removeHeader(name)
}
