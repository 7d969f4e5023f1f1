import type { FastifyReply, FastifyRequest } from 'fastify'
import { HeaderList } from '../host/header-map.ts'
import type { Exchange } from './exchange.ts'
import { withLowerCaseNames } from './hop-by-hop.ts'
import { TrailerList } from './trailer-list.ts'

/** The trailers of a request: there when its body has been read. What filters change the handler sees in `raw.trailers`. */
export class RequestTrailers extends HeaderList {
  readonly #raw: FastifyRequest['raw']

  constructor(request: FastifyRequest) {
    super(withLowerCaseNames(request.raw.rawTrailers ?? []))
    this.#raw = request.raw
  }

  protected override changed(name: string): void {
    const values = this.getAll(name)
    if (values.length === 0) delete this.#raw.trailers[name]
    else this.#raw.trailers[name] = values.join(', ')
  }
}

type Send = (trailers: Record<string, readonly string[]>) => void
type Trailers = Record<string, string | readonly string[]> | readonly (readonly [string, string])[]

/**
 * Has the trailers of a response pass the filters. They are known when the body has ended, and nobody but Node's response
 * is told: whoever adds them there (Fastify for `reply.trailer`, the proxy for an upstream's) adds them to what filters
 * have added, each filter sees and changes them, and they are sent.
 */
export class ResponseTrailers extends TrailerList {
  readonly #exchange: Exchange
  readonly #send: Send
  /** Whether filters are at work on the body, after which the trailers come. */
  #waiting = false
  #filtered = false

  constructor(exchange: Exchange) {
    super([])
    this.#exchange = exchange
    const { raw } = exchange.reply
    this.#send = raw.addTrailers.bind(raw) as Send
    const add = (trailers: Trailers) => this.#add(trailers)
    raw.addTrailers = add as typeof raw.addTrailers
  }

  /** The filters of the body run first. */
  wait(): void {
    this.#waiting = true
  }

  /** The body has ended. */
  flush(): void {
    this.#waiting = false
    if (this.list.length > 0) this.#pass()
  }

  /** Hands what filters have added to a body that was there as a whole to Fastify, which then sends it in chunks. */
  announce(reply: FastifyReply): void {
    // HTTP/1.0 knows no chunks, and so no trailers.
    if (reply.request.raw.httpVersion === '1.0') this.list = []
    for (const name of new Set(this.list.filter((_, i) => i % 2 === 0))) {
      const values = this.getAll(name)
      reply.trailer(name, async () => (values.length === 1 ? values[0]! : (values as unknown as string)))
    }
    this.list = []
  }

  #add(trailers: Trailers): void {
    const pairs = Array.isArray(trailers) ? (trailers as [string, string][]) : Object.entries(trailers)
    for (const [name, value] of pairs) {
      for (const item of [value].flat()) if (item !== undefined) this.list.push(name.toLowerCase(), String(item))
    }
    if (!this.#waiting) this.#pass()
  }

  #pass(): void {
    if (!this.#filtered) {
      this.#filtered = true
      this.#exchange.responseTrailersPass()
    }
    const trailers: Record<string, string[]> = Object.create(null)
    for (let i = 0; i < this.list.length; i += 2) {
      trailers[this.list[i]!] ??= []
      trailers[this.list[i]!]!.push(this.list[i + 1]!)
    }
    this.#send(trailers)
  }
}
