import type { ResourceStore } from '../resource-store.ts'
import { Bridge, type RedisStatus } from './bridge.ts'
import { Leases } from './leases.ts'
import { RedisQueues } from './queues.ts'
import { RedisResourceStore } from './resource-store.ts'
import type { RedisSettings, StoreLog } from './settings.ts'
import { RedisSharedData } from './shared-data.ts'

/** Milliseconds after which an item that a process has taken from a queue, and not done with, is given to another one. */
const CLAIM_MS = 30_000

/** What all processes with the same Redis and the same prefix share. */
export class RedisStores {
  readonly sharedData: RedisSharedData
  readonly queues: RedisQueues
  readonly leases: Leases
  readonly #settings: RedisSettings
  readonly #log: StoreLog
  readonly #bridge: Bridge

  /** @param waits is called before the thread stands still for an answer */
  constructor(settings: RedisSettings, log: StoreLog, waits: () => void, claimMs: number = CLAIM_MS) {
    this.#settings = settings
    this.#log = log
    this.#bridge = new Bridge(settings, log, waits, claimMs)
    this.sharedData = new RedisSharedData(settings, this.#bridge)
    this.queues = new RedisQueues(this.#bridge)
    this.leases = new Leases(settings)
  }

  get status(): RedisStatus {
    return this.#bridge.status
  }

  /** Where the objects are that the Admin API writes; whoever uses it closes it. */
  resources(): ResourceStore {
    return new RedisResourceStore(this.#settings, this.#log)
  }

  /** Waits until Redis answers, or it is clear that it does not now. */
  ready(): Promise<void> {
    return this.#bridge.ready()
  }

  async close(): Promise<void> {
    await Promise.all([this.leases.close(), this.#bridge.close()])
  }
}
