import { Bridge, type RedisStatus } from './bridge.ts'
import { RedisQueues } from './queues.ts'
import type { RedisSettings, StoreLog } from './settings.ts'
import { RedisSharedData } from './shared-data.ts'

/** Milliseconds after which an item that a process has taken from a queue, and not done with, is given to another one. */
const CLAIM_MS = 30_000

/** What all processes with the same Redis and the same prefix share. */
export class RedisStores {
  readonly sharedData: RedisSharedData
  readonly queues: RedisQueues
  readonly #bridge: Bridge

  /** @param waits is called before the thread stands still for an answer */
  constructor(settings: RedisSettings, log: StoreLog, waits: () => void, claimMs: number = CLAIM_MS) {
    this.#bridge = new Bridge(settings, log, waits, claimMs)
    this.sharedData = new RedisSharedData(settings, this.#bridge)
    this.queues = new RedisQueues(this.#bridge)
  }

  get status(): RedisStatus {
    return this.#bridge.status
  }

  /** Waits until Redis answers, or it is clear that it does not now. */
  ready(): Promise<void> {
    return this.#bridge.ready()
  }

  async close(): Promise<void> {
    await this.#bridge.close()
  }
}
