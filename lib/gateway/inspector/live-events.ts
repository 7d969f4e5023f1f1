import type { FastifyReply } from 'fastify'

const MAX_STREAMS = 20
const INTERVAL_MS = 500
/** Figures change all the time: after so many intervals they are sent. */
const SECTIONS_EVERY = 4
/** What a browser has not taken yet. One that takes nothing is let go of, and comes again by itself. */
const MAX_PENDING = 1024 * 1024
/** So often something is sent, or else whoever is in between may take the stream for dead. */
const SILENCE_MS = 15_000

const HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  // Nginx would hold them back.
  'x-accel-buffering': 'no'
}

/** What changes on the page. */
export interface Update {
  readonly section?: string
  readonly request?: number
  readonly html: string
}

interface Stream {
  readonly raw: FastifyReply['raw']
  readonly mayGoOn: () => boolean
  version: number
  sentAt: number
}

/** The pages that are open, each of which is sent what changes. Nothing runs while there is none. */
export class LiveEvents {
  readonly #updates: (since: number) => { version: number; updates: readonly Update[] }
  readonly #sections: () => readonly Update[]
  /** By section, what was sent last. */
  readonly #shown: Map<string, string> = new Map()
  readonly #streams: Set<Stream> = new Set()
  #timer: NodeJS.Timeout | undefined
  #ticks = 0

  /**
   * @param requests what has changed of requests since a version, and which version it is now
   * @param sections all of the others, as they are now
   */
  constructor(
    requests: (since: number) => { version: number; updates: readonly Update[] },
    sections: () => readonly Update[]
  ) {
    this.#updates = requests
    this.#sections = sections
  }

  get isFull(): boolean {
    return this.#streams.size >= MAX_STREAMS
  }

  /**
   * Sends to a page, from now on until it is closed.
   *
   * @param mayGoOn whether who looks at it still may
   */
  open(reply: FastifyReply, since: number, mayGoOn: () => boolean): void {
    const { raw } = reply
    reply.hijack()
    raw.writeHead(200, HEADERS)
    raw.write('retry: 1000\n\n')
    const stream = { raw, mayGoOn, version: since, sentAt: performance.now() }
    this.#streams.add(stream)
    raw.once('close', () => this.#close(stream))
    // All that has not been shown to this one.
    for (const update of this.#sections()) send(stream, update)
    this.#timer ??= setInterval(() => this.#tick(), INTERVAL_MS)
  }

  close(): void {
    for (const stream of [...this.#streams]) {
      stream.raw.end()
      this.#close(stream)
    }
  }

  #close(stream: Stream): void {
    this.#streams.delete(stream)
    if (this.#streams.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#shown.clear()
  }

  #changedSections(): Update[] {
    return this.#sections().filter(({ section, html }) => {
      const isChanged = this.#shown.get(section!) !== html
      this.#shown.set(section!, html)
      return isChanged
    })
  }

  #tick(): void {
    const changed = this.#ticks++ % SECTIONS_EVERY === 0 ? this.#changedSections() : []
    const now = performance.now()
    for (const stream of this.#streams) {
      if (stream.raw.writableLength > MAX_PENDING) {
        stream.raw.destroy()
        continue
      }
      if (!stream.mayGoOn()) {
        stream.raw.end()
        this.#close(stream)
        continue
      }
      const { version, updates } = this.#updates(stream.version)
      stream.version = version
      for (const update of [...changed, ...updates]) send(stream, update)
      if (now - stream.sentAt > SILENCE_MS) {
        stream.raw.write(':\n\n')
        stream.sentAt = now
      }
    }
  }
}

function send(stream: Stream, update: Update): void {
  stream.raw.write(`data: ${JSON.stringify(update)}\n\n`)
  stream.sentAt = performance.now()
}
