import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster } from 'ioredis'
import { FST_WASM_STORE_FAILED } from '../../errors.ts'
import {
  nameOf,
  RESOURCE_KINDS,
  type ResourceKind,
  type ResourceStore,
  type StoreChanges,
  StoreConflict,
  type StoredResource
} from '../resource-store.ts'
import { type Client, createClient, end, run } from './client.ts'
import { reasonOf } from './link.ts'
import { READ_RESOURCES, WRITE_RESOURCE } from './scripts.ts'
import type { RedisSettings, StoreLog } from './settings.ts'

/** Milliseconds after which it is looked for changes in any case: a message may be lost. */
const LOOK_MS = 10_000
/** What no revision is: with it everything is read. */
const NO_REVISION = 'none'
/** Milliseconds that an answer may take. */
const SILENCE_MS = 5000
/** Milliseconds that connecting may take at the start. */
const START_MS = 5000

/**
 * Keeps the objects in Redis, for all processes. A write is taken when its writer knows all that others have written before,
 * so no two overwrite each other unseen. Each write is announced; who has missed some reads what they have changed, and
 * everything where what it knew is not the past of this Redis: a replica may know less than its master did.
 */
export class RedisResourceStore implements ResourceStore {
  readonly #commands: Client
  readonly #subscriber: Client
  readonly #key: string
  readonly #channel: string
  readonly #log: StoreLog
  readonly #startMs: number
  /** By `kind/id`, as they are in Redis. */
  #known: Map<string, string> = new Map()
  #revision = NO_REVISION
  #onChange: () => void = () => {}
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(settings: RedisSettings, log: StoreLog) {
    this.#commands = createClient(settings, [READ_RESOURCES, WRITE_RESOURCE], SILENCE_MS)
    this.#subscriber = createClient(settings, [], SILENCE_MS)
    // One slot of a cluster has all of it.
    this.#key = `${settings.prefix}{resources}`
    this.#channel = `${this.#key}:changes`
    this.#log = log
    this.#startMs = Math.max(START_MS, (settings.options.connectTimeout ?? 0) + 1000)
  }

  async load(): Promise<StoredResource[]> {
    const clients = [this.#commands, this.#subscriber]
    let reason: Error | undefined
    for (const client of clients) {
      client.on('error', (error: Error) => {
        reason ??= error
      })
    }
    try {
      await this.#connect()
    } catch (error) {
      throw this.#failed(reason ?? (error as Error))
    }
    this.#commands.on('ready', () => this.#onChange())
    this.#subscriber.on('ready', () => this.#subscribe())
    this.#subscriber.on('message', () => this.#onChange())
    const { written } = await this.changes()
    return [...written]
  }

  async write(
    kind: ResourceKind,
    id: string,
    value: Readonly<Record<string, unknown>> | undefined,
    expected: number
  ): Promise<StoredResource> {
    const name = nameOf({ kind, id })
    const json = value === undefined ? '' : JSON.stringify(value)
    const token = randomBytes(8).toString('hex')
    const answer = await this.#run<[number, number, Buffer] | 0 | null>(
      WRITE_RESOURCE,
      ...[this.#revision, name, json, expected, this.#channel, token]
    )
    // Changes do not tell of that one.
    if (answer === 0) this.#revision = NO_REVISION
    if (answer === 0 || answer === null) throw new StoreConflict()
    const [created, modified, revision] = answer
    const before = this.#known.get(name)
    this.#revision = revision.toString()
    if (value === undefined) {
      this.#known.delete(name)
      return resourceOf(name, before!)
    }
    this.#known.set(name, `${created} ${modified} ${json}`)
    return { kind, id, value, createdIndex: created, modifiedIndex: modified }
  }

  follow(onChange: () => void): void {
    this.#onChange = onChange
    this.#timer = setInterval(onChange, LOOK_MS)
    this.#timer.unref()
  }

  async changes(): Promise<StoreChanges> {
    const [revision, isAll, list] = await this.#run<[Buffer, number, (Buffer | null)[]]>(READ_RESOURCES, this.#revision)
    const objects = new Map<string, string | undefined>()
    // What is not there any more when this is everything that is.
    if (isAll === 1) for (const name of this.#known.keys()) objects.set(name, undefined)
    for (let i = 0; i < list.length; i += 2) objects.set(String(list[i]), list[i + 1]?.toString())
    this.#revision = revision.toString()
    const written: StoredResource[] = []
    const deleted: Pick<StoredResource, 'kind' | 'id'>[] = []
    for (const [name, text] of objects) {
      if (this.#known.get(name) === text) continue
      if (text === undefined) this.#known.delete(name)
      else this.#known.set(name, text)
      try {
        if (text === undefined) deleted.push(partsOf(name))
        else written.push(resourceOf(name, text))
      } catch (error) {
        const reason = (error as Error).message
        this.#log.error({}, `the stored object ${name} is left out: ${reason}`)
      }
    }
    // Redis has them in no order.
    written.sort((a, b) => a.createdIndex - b.createdIndex)
    return { written, deleted }
  }

  /** What waits for an answer fails. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#onChange = () => {}
    clearInterval(this.#timer)
    for (const client of [this.#commands, this.#subscriber]) end(client)
  }

  /** The clients themselves try for ever where a Redis is there and not ready: a cluster without some of its slots, for one. */
  async #connect(): Promise<void> {
    const clients = [this.#commands, this.#subscriber]
    let isThere = false
    this.#commands.once('connect', () => {
      isThere = true
    })
    const connecting = Promise.all(clients.map((client) => client.connect())).then(() =>
      this.#subscriber.subscribe(this.#channel)
    )
    const over = new AbortController()
    const late = sleep(this.#startMs, undefined, over).then(() => {
      const what = this.#commands instanceof Cluster ? 'the cluster is down' : 'it is not ready'
      throw new Error(isThere ? what : 'it does not answer')
    })
    try {
      await Promise.race([connecting, late])
    } finally {
      over.abort()
      for (const promise of [connecting, late]) promise.catch(() => {})
    }
  }

  #subscribe(): void {
    this.#subscriber.subscribe(this.#channel).then(
      () => this.#onChange(),
      // With the connection, which comes again.
      () => {}
    )
  }

  async #run<Answer>(...[script, ...values]: [Parameters<typeof run>[1], ...(string | number)[]]): Promise<Answer> {
    if (this.#closed) throw this.#failed(new Error('it is closed'))
    try {
      return await run<Answer>(this.#commands, script, this.#key, ...values)
    } catch (error) {
      throw this.#failed(error as Error)
    }
  }

  #failed(error: Error): Error {
    const isThere = this.#closed || this.#commands.status === 'ready'
    const reason = this.#closed ? 'it is closed' : reasonOf(error)
    return new FST_WASM_STORE_FAILED('in Redis', isThere ? reason : `there is no connection (${reason})`, {
      cause: error
    })
  }
}

function partsOf(name: string): Pick<StoredResource, 'kind' | 'id'> {
  const [kind, ...id] = name.split('/')
  if (!RESOURCE_KINDS.includes(kind as ResourceKind)) throw new Error(`there are no ${kind}`)
  return { kind: kind as ResourceKind, id: id.join('/') }
}

/** What is not what the Admin API has written is there all the same: that can mend and delete it. */
function resourceOf(name: string, text: string): StoredResource {
  const parts = partsOf(name)
  const [indexes, created, modified] = /^(\d+) (\d+) /.exec(text) ?? ['', 0, 0]
  const object = { ...parts, createdIndex: Number(created), modifiedIndex: Number(modified) }
  try {
    const value = JSON.parse(text.slice(indexes.length))
    if (indexes !== '' && typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return { ...object, value }
    }
  } catch {
    // No JSON at all.
  }
  return { ...object, value: { id: parts.id }, broken: 'it is not what the Admin API has written' }
}
