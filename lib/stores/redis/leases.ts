import { randomUUID } from 'node:crypto'
import { type Client, createClient, end, run } from './client.ts'
import { HOLD, RELEASE } from './scripts.ts'
import type { RedisSettings } from './settings.ts'

/** Milliseconds that a lease holds, unless it is renewed. */
const LEASE_MS = 6000
const RENEW_MS = 2000
/** So long before its end nothing begins that it is for. */
const MARGIN_MS = 1000
const SILENCE_MS = 1500

/** Who may do something that one process at a time does. */
export class Leases {
  readonly #settings: RedisSettings
  readonly #own: string = randomUUID()
  readonly #leases: Map<string, Lease> = new Map()
  #client: Client | undefined

  constructor(settings: RedisSettings) {
    this.#settings = settings
  }

  of(name: string): Lease {
    let lease = this.#leases.get(name)
    if (lease === undefined) {
      const key = `${this.#settings.prefix}lease:${name}`
      lease = new Lease(key, this.#own, () => this.#connect())
      this.#leases.set(name, lease)
    }
    return lease
  }

  /** Gives all of them up: others have them at once. */
  async close(): Promise<void> {
    await Promise.all([...this.#leases.values()].map((lease) => lease.close()))
    if (this.#client !== undefined) end(this.#client)
  }

  #connect(): Client {
    if (this.#client === undefined) {
      this.#client = createClient(this.#settings, [HOLD, RELEASE], SILENCE_MS)
      this.#client.on('error', () => {})
      this.#client.on('ready', () => {
        for (const lease of this.#leases.values()) lease.renew()
      })
      this.#client.connect().catch(() => {})
    }
    return this.#client
  }
}

/** One of them. It is asked for as long as somebody wants it, and lost when it cannot be renewed. */
export class Lease {
  readonly #key: string
  readonly #own: string
  readonly #connect: () => Client
  #wanted = 0
  /** Counts the wishes that are over. */
  #over = 0
  /** Whether Redis may have been told that this process holds it. */
  #isAsked = false
  #until = 0
  #timer: NodeJS.Timeout | undefined

  constructor(key: string, own: string, connect: () => Client) {
    this.#key = key
    this.#own = own
    this.#connect = connect
  }

  get isHeld(): boolean {
    return performance.now() < this.#until - MARGIN_MS
  }

  /** @returns what ends the wish */
  want(): () => void {
    if (++this.#wanted === 1) {
      this.#timer = setInterval(() => this.renew(), RENEW_MS)
      this.#timer.unref()
      this.renew()
    }
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      if (--this.#wanted === 0) this.close()
    }
  }

  async renew(): Promise<void> {
    const client = this.#connect()
    if (this.#wanted === 0 || client.status !== 'ready') return
    // Redis counts from later on.
    const until = performance.now() + LEASE_MS
    const over = this.#over
    this.#isAsked = true
    try {
      const isHeld = (await run<number>(client, HOLD, this.#key, this.#own, LEASE_MS)) === 1
      if (over === this.#over) this.#until = isHeld ? until : 0
    } catch {
      // Once Redis is back. Until its end it is held.
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#wanted = 0
    this.#over++
    this.#until = 0
    if (!this.#isAsked) return
    this.#isAsked = false
    // Also when it is not known yet whether it is held: this comes behind the question.
    await run(this.#connect(), RELEASE, this.#key, this.#own).catch(() => {
      // It ends by itself.
    })
  }
}
