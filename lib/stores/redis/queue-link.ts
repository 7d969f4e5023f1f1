import { run } from './client.ts'
import type { Link } from './link.ts'
import { ACKNOWLEDGE, COUNT, DEQUEUE, ENQUEUE, REGISTER } from './scripts.ts'
import type { RedisSettings } from './settings.ts'
import type { FromWorker } from './worker.ts'

/** Items of one queue that are not done with yet. */
const MAX_ITEMS = 262_144
/** How many ids go into one command. */
const BATCH = 1000

interface TakenItem {
  readonly id: Buffer
  readonly item: Buffer
  readonly takenAt: number
}

/** A queue as the worker sees it. */
interface Queue {
  readonly id: number
  readonly name: string
  readonly key: string
  readonly channel: string
  /** Whether this process is told of what comes. */
  isRegistered: boolean
  /** Whether Redis has its name, and tells of what comes */
  isIntroduced: boolean
  /** Taken for a filter that did not wait so long: the next one that asks has it. */
  readonly left: TakenItem[]
  /** Given to filters, and not acknowledged. */
  given: Buffer[]
  /** How many items have come that nobody was told of. */
  news: number
  /** How many are there, as far as it was looked since. */
  waiting: number
}

/** The queues of a process, seen from its worker. */
export class QueueLink {
  readonly #settings: RedisSettings
  readonly #link: Link
  readonly #claimMs: number
  readonly #tell: (message: FromWorker) => void
  readonly #queues: Map<number, Queue> = new Map()
  readonly #byChannel: Map<string, Queue> = new Map()
  readonly #timer: NodeJS.Timeout
  #isTelling = false
  #acknowledging: Promise<void> = Promise.resolve()

  constructor(settings: RedisSettings, link: Link, claimMs: number, tell: (message: FromWorker) => void) {
    this.#settings = settings
    this.#link = link
    this.#claimMs = claimMs
    this.#tell = tell
    // Each at another time than the other processes.
    this.#timer = setInterval(() => this.#look(), claimMs / 2 + Math.random() * (claimMs / 4))
    this.#timer.unref()
  }

  register(id: number, name: string): void {
    const queue = this.#queue(id, name)
    queue.isRegistered = true
    this.#introduce(queue).catch(() => {
      // Once Redis is back, or has room.
    })
  }

  /** What is known of ids and names may be gone, and what has come meanwhile was not told. */
  refresh(): void {
    for (const queue of this.#queues.values()) if (queue.isRegistered) this.#introduce(queue).catch(() => {})
    this.acknowledge()
  }

  receive(channel: string): void {
    const queue = this.#byChannel.get(channel)
    if (queue !== undefined) this.#announce(queue, 1, 0)
  }

  /** @returns whether there is room */
  async put(id: number, item: Buffer): Promise<boolean> {
    const { key, channel } = this.#queue(id)
    return (await run<number>(this.#link.commands, ENQUEUE, key, item, channel, MAX_ITEMS)) === 1
  }

  async take(id: number): Promise<TakenItem | undefined> {
    const { key, left } = this.#queue(id)
    for (let item = left.shift(); item !== undefined; item = left.shift()) {
      // Of one that has waited long another process may think that it is nobody's.
      if (performance.now() - item.takenAt < this.#claimMs / 2) return item
    }
    const takenAt = performance.now()
    const taken = await run<[Buffer, Buffer] | null>(this.#link.commands, DEQUEUE, key, this.#claimMs)
    return taken === null ? undefined : { id: taken[0], item: taken[1], takenAt }
  }

  /** A filter has it. */
  given(id: number, { id: itemId }: TakenItem): void {
    this.#queue(id).given.push(itemId)
  }

  /** Nobody waited for it. */
  missed(id: number, item: TakenItem): void {
    const queue = this.#queue(id)
    queue.left.push(item)
    this.#announce(queue, 1, 0)
  }

  /** The filters are done with what they were given. */
  acknowledge(): void {
    this.#acknowledging = this.#acknowledging.then(() => this.#acknowledge())
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.acknowledge()
    await this.#acknowledging
  }

  #queue(id: number, name: string = ''): Queue {
    let queue = this.#queues.get(id)
    if (queue === undefined) {
      const key = `${this.#settings.prefix}queue:${id}`
      queue = {
        id,
        name,
        key,
        channel: `${key}:items`,
        isRegistered: false,
        isIntroduced: false,
        left: [],
        given: [],
        news: 0,
        waiting: 0
      }
      this.#queues.set(id, queue)
      this.#byChannel.set(queue.channel, queue)
    }
    return queue
  }

  async #introduce(queue: Queue): Promise<void> {
    const { commands } = this.#link
    queue.isIntroduced = false
    const name = Buffer.from(queue.name, 'latin1')
    const isOwn = await run<number>(commands, REGISTER, `${this.#settings.prefix}queues`, queue.id, name)
    if (isOwn === 0) {
      queue.isRegistered = false
      this.#tell({ type: 'refused', id: queue.id })
      return
    }
    await this.#link.subscribe(queue.channel)
    queue.isIntroduced = true
    const [waiting, left] = await run<[number, number]>(commands, COUNT, queue.key, this.#claimMs)
    this.#announce(queue, 0, waiting + left + queue.left.length)
  }

  /** Items that a process had which is no more come back without being announced. And a name that was refused may be taken. */
  async #look(): Promise<void> {
    for (const queue of this.#queues.values()) {
      if (!queue.isRegistered || !this.#link.isReady) continue
      try {
        if (!queue.isIntroduced) {
          await this.#introduce(queue)
          continue
        }
        const [waiting, left] = await run<[number, number]>(this.#link.commands, COUNT, queue.key, this.#claimMs)
        // Of a cluster it is not seen when the connection that listens is lost: items may have come that were not announced.
        this.#announce(queue, 0, this.#settings.cluster === undefined ? left : waiting + left)
      } catch {}
    }
  }

  /**
   * @param news how many have come
   * @param waiting how many are there, also those that were announced
   */
  #announce(queue: Queue, news: number, waiting: number): void {
    if (news + waiting <= 0 || !queue.isRegistered) return
    queue.news += news
    queue.waiting = Math.max(queue.waiting, waiting)
    if (this.#isTelling) return
    this.#isTelling = true
    setImmediate(() => {
      this.#isTelling = false
      for (const queue of this.#queues.values()) {
        const { id, news, waiting } = queue
        if (news + waiting > 0) this.#tell({ type: 'items', id, news, waiting })
        queue.news = 0
        queue.waiting = 0
      }
    })
  }

  async #acknowledge(): Promise<void> {
    for (const queue of this.#queues.values()) {
      while (queue.given.length > 0 && this.#link.isReady) {
        const ids = queue.given.slice(0, BATCH)
        try {
          await run(this.#link.commands, ACKNOWLEDGE, queue.key, ...ids)
        } catch {
          // Once Redis is back.
          return
        }
        queue.given = queue.given.slice(ids.length)
      }
    }
  }
}
