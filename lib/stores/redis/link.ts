import type { Redis } from 'ioredis'
import { type Client, createClient, end, isRefusal, type Script } from './client.ts'
import { type Generations, slotOf } from './generations.ts'
import type { Answering } from './mailbox.ts'
import type { RedisSettings } from './settings.ts'

/** Milliseconds between two looks at whether Redis answers. */
const HEARTBEAT_MS = 500
/** The same as long as it did not. */
const RETRY_MS = 100
/** How many quick answers in a row it takes after one that did not come in time: a slow Redis is quick now and then. */
const QUICK_ANSWERS = 3
/**
 * Milliseconds that it is left alone when it has just been found to be quick, and was not: PING may be answered where nothing
 * else is. Twice as long each time.
 */
const HOLD_MS = 1000
const MAX_HOLD_MS = 10_000
/** Milliseconds that it has to work before that begins anew. */
const CALM_MS = 10_000
/** Milliseconds without an answer after which a connection is given up: so long copies may be old when nobody says so. */
const SILENCE_MS = 1000
/** What Redis names the keys on that have changed. */
const INVALIDATE = '__redis__:invalidate'

/** What a link tells. */
export interface LinkEvents {
  /** There is a connection again, and everything can be asked. */
  up(): void
  /** There is none any more. Told again when Redis itself has refused it since. */
  down(reason: string, isRefused: boolean): void
  /** Something is not as it should be, and goes on all the same. */
  warning(message: string): void
  message(channel: string): void
}

/**
 * The connections of a worker: one for commands, and one on which Redis says what has changed. It counts changed keys in
 * the generations; as soon as either connection is lost, or Redis says that it has dropped everything, it begins an epoch.
 * It is healthy when Redis has answered both in less than half the time that a filter waits.
 */
export class Link {
  readonly commands: Client
  readonly #subscriber: Client
  readonly #settings: RedisSettings
  readonly #mailbox: Answering
  readonly #generations: Generations
  readonly #events: LinkEvents
  readonly #channels: Set<string> = new Set()
  /** What the changes of keys are to be told to. */
  #subscriberId: Promise<unknown> | undefined
  /** Counts the changes of the connections: who has waited sees whether they are still the same. */
  #version = 0
  #isPrepared = false
  /** The version for which the connections are being prepared. */
  #preparing: number | undefined
  #isProbing = false
  #probedAt = 0
  /** How many quick answers there have to be before it is healthy. */
  #wanted = 1
  #healedAt = Number.NEGATIVE_INFINITY
  #holdMs = 0
  #heldUntil = Number.NEGATIVE_INFINITY
  /** Whether the connection is going to be closed to look for another master: whoever was refused has said why. */
  #isSeeking = false
  /** Why it is not up; said once. */
  #trouble: string | undefined
  #timer: NodeJS.Timeout | undefined
  #warned = false

  constructor(
    settings: RedisSettings,
    scripts: readonly Script[],
    mailbox: Answering,
    generations: Generations,
    events: LinkEvents
  ) {
    const silence = Math.max(SILENCE_MS, settings.timeoutMs * 4)
    this.#settings = settings
    this.#mailbox = mailbox
    this.#generations = generations
    this.#events = events
    this.commands = createClient(settings, scripts, silence, () => {
      // A cluster is not lost with one of its connections.
      this.#isSeeking = !this.#isCluster
    })
    this.#subscriber = createClient(settings, [], silence)
  }

  get isReady(): boolean {
    return this.commands.status === 'ready' && !this.#isSeeking
  }

  connect(): void {
    const { commands } = this
    const subscriber = this.#subscriber
    for (const client of [commands, subscriber]) {
      client.on('error', (error: Error) => this.#lostBy(error))
      client.on('close', () => this.#lost('the connection is closed'))
    }
    commands.on('ready', () => this.#prepare())
    subscriber.on('ready', () => {
      // First of all: a connection that has subscribed to something can be asked no more.
      this.#subscriberId = this.#isCluster ? Promise.resolve() : (subscriber as Redis).client('ID')
      this.#subscriberId.catch(() => {})
      this.#prepare()
    })
    subscriber.on('messageBuffer', (channel: Buffer, message: unknown) => this.#receive(channel.toString(), message))
    for (const client of [commands, subscriber]) client.connect().catch(() => {})
    this.#timer = setInterval(() => {
      if (!this.#mailbox.isHealthy || performance.now() - this.#probedAt >= HEARTBEAT_MS) this.#probe()
    }, RETRY_MS)
  }

  /** From now on, and after every loss of the connection, what comes on the channel is told. */
  async subscribe(channel: string): Promise<void> {
    this.#channels.add(channel)
    await this.#subscriber.subscribe(channel)
  }

  /** Whoever asked has waited in vain: it is healthy no more until Redis answers quickly. */
  suspect(): void {
    this.#wanted = QUICK_ANSWERS
    const now = performance.now()
    this.#holdMs = now - this.#healedAt > CALM_MS ? 0 : Math.min(MAX_HOLD_MS, Math.max(HOLD_MS, this.#holdMs * 2))
    this.#heldUntil = now + this.#holdMs
    this.#probe()
  }

  /**
   * A command found no connection, or lost it: nothing else is asked for until Redis answers, whenever the loss is told. A
   * cluster has other nodes, and of the lost one it is known at once that it is not there.
   *
   * @returns whether the loss is told by the link itself
   */
  missed(): boolean {
    if (this.#isCluster) return false
    this.#mailbox.isHealthy = false
    return true
  }

  #heal(): void {
    this.#mailbox.isHealthy = true
    this.#wanted = 1
    this.#healedAt = performance.now()
    this.#trouble = undefined
    this.#events.up()
  }

  close(): void {
    this.#version++
    clearInterval(this.#timer)
    for (const client of [this.commands, this.#subscriber]) {
      client.removeAllListeners()
      client.on('error', () => {})
      end(client)
    }
  }

  get #isCluster(): boolean {
    return this.#settings.cluster !== undefined
  }

  #receive(channel: string, message: unknown): void {
    if (channel !== INVALIDATE) this.#events.message(channel)
    else if (Array.isArray(message)) {
      for (const key of message as Buffer[]) this.#generations.bump(slotOf(key.toString('latin1')))
    } else {
      // Everything was dropped: queues too have no names any more.
      this.#mailbox.nextEpoch()
      if (this.#isPrepared) this.#events.up()
    }
  }

  #lostBy(error: Error): void {
    this.#lost(reasonOf(error), isRefusal(error))
  }

  #lost(reason: string, isRefused: boolean = false): void {
    this.#version++
    this.#isPrepared = false
    this.#mailbox.isHealthy = false
    this.#mailbox.isTracked = false
    this.#mailbox.nextEpoch()
    const isSaid = this.#trouble !== undefined || this.#isSeeking
    this.#isSeeking = false
    // A password that is not right any more is found out when the connection is made again.
    if (isSaid && !(isRefused && reason !== this.#trouble)) return
    this.#trouble = reason
    this.#events.down(reason, isRefused)
  }

  /** Both connections are there: makes one tell what the other reads. */
  async #prepare(): Promise<void> {
    const version = ++this.#version
    const { commands } = this
    const subscriber = this.#subscriber
    this.#mailbox.isTracked = false
    this.#mailbox.nextEpoch()
    if (commands.status !== 'ready' || subscriber.status !== 'ready') return
    this.#preparing = version
    try {
      const id = await this.#subscriberId
      const channels = this.#isCluster ? [...this.#channels] : [INVALIDATE, ...this.#channels]
      if (channels.length > 0) await subscriber.subscribe(...channels)
      const isTracked = !this.#isCluster && (await this.#track(commands as Redis, String(id)))
      if (version !== this.#version) return
      this.#mailbox.nextEpoch()
      this.#mailbox.isTracked = isTracked
      this.#isPrepared = true
    } catch (error) {
      if (version === this.#version) this.#lostBy(error as Error)
      return
    } finally {
      if (this.#preparing === version) this.#preparing = undefined
    }
    await this.#probe()
  }

  async #track(commands: Redis, id: string): Promise<boolean> {
    try {
      // What was read for a connection that is gone is forgotten with it.
      await commands.client('TRACKING', 'OFF')
      await commands.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', id, 'NOLOOP')
      return true
    } catch (error) {
      if (!this.isReady) throw error
      if (!this.#warned) this.#events.warning(`no value is kept in the process: ${reasonOf(error as Error)}`)
      this.#warned = true
      return false
    }
  }

  /** Asks both connections whether they are there. */
  async #probe(): Promise<void> {
    if (!this.#isPrepared) {
      // What an error has undone that was none of the connections'.
      const areThere = this.isReady && this.#subscriber.status === 'ready'
      if (areThere && this.#preparing === undefined) this.#prepare()
      return
    }
    if (this.#isProbing) return
    this.#isProbing = true
    const version = this.#version
    const begin = performance.now()
    this.#probedAt = begin
    try {
      // Of a cluster, the connection that listens is ioredis's own, which it keeps alive by itself.
      await Promise.all([isThere(this.commands), ...(this.#isCluster ? [] : [isThere(this.#subscriber)])])
      const isQuick = performance.now() - begin < this.#settings.timeoutMs / 2
      if (version !== this.#version || this.#mailbox.isHealthy) return
      if (!isQuick) this.#wanted = QUICK_ANSWERS
      else if (--this.#wanted <= 0 && performance.now() >= this.#heldUntil) this.#heal()
    } catch (error) {
      if (version === this.#version) this.#lostBy(error as Error)
    } finally {
      this.#isProbing = false
    }
  }
}

/** A Redis that cannot write to its disk refuses even this, and is read from all the same. */
async function isThere(client: Client): Promise<void> {
  await client.ping().catch((error: Error) => {
    if (!error.message.startsWith('MISCONF')) throw error
  })
}

/** What an error of ioredis comes to: of some it says only that there were several, or which option has made it. */
export function reasonOf(error: Error): string {
  if (error.name === 'MaxRetriesPerRequestError' || error.message.startsWith("Stream isn't writeable")) {
    return 'the connection is closed'
  }
  const { errors, lastNodeError } = error as { errors?: Error[]; lastNodeError?: Error }
  return errors?.[0]?.message ?? lastNodeError?.message ?? (error.message || error.name)
}
