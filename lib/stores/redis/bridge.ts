import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { Generations } from './generations.ts'
import { Asking, MAX_KEY, Operation, REFUSED, Result } from './mailbox.ts'
import type { RedisSettings, StoreLog } from './settings.ts'
import type { FromWorker, ToWorker, WorkerData } from './worker.ts'

/** Milliseconds before a worker that has died is replaced. */
const RESPAWN_MS = 200
/** Milliseconds that a worker may take to close. */
const CLOSE_MS = 1000
/** How long it is not said again that Redis refuses something. */
const QUIET_MS = 60_000
/** How long a Redis that is full is not asked to take anything. */
const FULL_MS = 100
/** How long a start waits for Redis at most. */
const READY_MS = 3000

/** The worker of the sources: a thread does not know by itself what its parent has learned of TypeScript. */
const SOURCE = `import('tsx/esm/api').then(({ register }) => {
  register()
  return import('${new URL('./worker.ts', import.meta.url)}')
})`

/** What the connection to Redis has come to. */
export interface RedisStatus {
  /** Whether what filters share can be read and written now */
  connected: boolean
  /** Calls of filters that were answered with a failure */
  failures: number
  /** How often it was lost, or too slow */
  outages: number
  /** Why it failed last */
  last_error: string | null
}

/** What is told of queues. */
export interface QueueEvents {
  items(id: number, news: number, waiting: number): void
  refused(id: number): void
}

/**
 * Asks the worker that has the connections, and waits for its answer: the thread stands still meanwhile, for `timeoutMs` at
 * most. After an answer that did not come in time nothing is asked until the worker has found Redis to be quick again, so
 * an outage costs one wait. A worker that dies is replaced.
 */
export class Bridge {
  readonly generations: Generations
  readonly #asking: Asking
  readonly #data: WorkerData
  readonly #log: StoreLog
  /** Is told before the thread stands still. */
  readonly #waits: () => void
  readonly #wake: () => void
  #worker: Worker | undefined
  #respawn: NodeJS.Timeout | undefined
  #acknowledges = false
  /** What a new worker has to be told. */
  readonly #queues: Map<number, string> = new Map()
  #queueEvents: QueueEvents | undefined
  #failures = 0
  #outages = 0
  #lastError: string | null = null
  /** Whether it has been said that something fails, and not yet that it works again. */
  #isSaid = false
  #refusedAt = Number.NEGATIVE_INFINITY
  #fullUntil = Number.NEGATIVE_INFINITY
  #ready: (() => void) | undefined
  #closed = false

  /** @param claimMs milliseconds after which an item of a queue that a process has taken, and not done with, is another's */
  constructor(settings: RedisSettings, log: StoreLog, waits: () => void, claimMs: number) {
    const mailbox = Asking.buffer()
    const generations = Generations.buffer()
    this.#data = { settings, mailbox, generations, claimMs }
    this.#asking = new Asking(mailbox)
    this.generations = new Generations(generations)
    this.#log = log
    this.#waits = waits
    this.#wake = () => this.#worker?.postMessage(0)
    this.#start()
  }

  /** Whether copies of what is read now may be kept. */
  get isTracked(): boolean {
    return this.#asking.isTracked
  }

  get epoch(): number {
    return this.#asking.epoch
  }

  /** A number that came with the last answer. */
  get number(): number {
    return this.#asking.number
  }

  /** The bytes of the last answer, until the next question. */
  get answer(): Buffer {
    return this.#asking.answer
  }

  get status(): RedisStatus {
    return {
      connected: this.#asking.isHealthy,
      failures: this.#failures,
      outages: this.#outages,
      last_error: this.#lastError
    }
  }

  /** @param key as latin1 */
  ask(operation: Operation, key: string, value: Uint8Array, number: number = 0, ttl: number = 0): Result {
    if (!this.#asking.isHealthy || key.length > MAX_KEY) {
      this.#failures++
      return Result.unavailable
    }
    // Before a filter that is refused tries again, as often as it takes.
    if ((operation === Operation.set || operation === Operation.enqueue) && performance.now() < this.#fullUntil) {
      this.#failures++
      return Result.full
    }
    this.#waits()
    const { timeoutMs } = this.#data.settings
    const result = this.#asking.ask(operation, key, value, number, ttl, this.#wake, timeoutMs)
    if (result === undefined || (result === Result.unknown && this.answer.length === 0)) {
      this.#asking.isHealthy = false
      this.#tell({ type: 'suspect' })
      this.#failures++
      this.#down(`there was no answer in ${timeoutMs} ms`)
      return result ?? Result.unavailable
    }
    const isFull = result === Result.full && this.number === REFUSED
    if (isFull) this.#fullUntil = performance.now() + FULL_MS
    if (isFull || result === Result.unavailable || result === Result.unknown) {
      this.#failures++
      this.#lastError = this.answer.toString()
      // What comes of a connection that is lost the worker tells by itself; that there is no room, the host.
      if (this.number === REFUSED && !isFull) this.#refused()
    }
    return result
  }

  /** @param events of all queues */
  listen(events: QueueEvents): void {
    this.#queueEvents = events
  }

  registerQueue(id: number, name: string): void {
    this.#queues.set(id, name)
    this.#tell({ type: 'register', id, name })
  }

  /** What was taken from queues is done with as soon as the call that took it is over. */
  acknowledge(): void {
    if (this.#acknowledges) return
    this.#acknowledges = true
    setImmediate(() => {
      this.#acknowledges = false
      this.#tell({ type: 'acknowledge' })
    })
  }

  /** Waits until there is a connection, or it is clear that there is none for now; at most for some seconds. */
  async ready(): Promise<void> {
    if (this.#asking.isHealthy || this.#isSaid) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, READY_MS)
      this.#ready = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#ready = undefined
    if (!this.#asking.isHealthy && !this.#isSaid) this.#down('there is no connection yet')
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#asking.isHealthy = false
    clearTimeout(this.#respawn)
    const worker = this.#worker
    this.#worker = undefined
    if (worker === undefined) return
    worker.ref()
    const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
    worker.postMessage({ type: 'close' } satisfies ToWorker)
    const timer = setTimeout(() => worker.terminate(), CLOSE_MS)
    await exited
    clearTimeout(timer)
  }

  #start(): void {
    const options = { workerData: this.#data, name: 'redis' }
    const worker =
      extname(import.meta.url) === '.js'
        ? new Worker(new URL('./worker.js', import.meta.url), options)
        : new Worker(SOURCE, { ...options, eval: true })
    this.#worker = worker
    worker.unref()
    worker.on('message', (message: FromWorker) => this.#receive(message))
    worker.on('error', (error) => this.#down(`the thread of the connection has failed: ${error.message}`))
    worker.on('exit', () => {
      if (this.#worker !== worker) return
      this.#worker = undefined
      this.#asking.isHealthy = false
      this.#asking.isTracked = false
      this.#asking.nextEpoch()
      this.#down('the thread of the connection has ended')
      this.#respawn = setTimeout(() => this.#start(), RESPAWN_MS)
      this.#respawn.unref()
    })
    for (const [id, name] of this.#queues) this.#tell({ type: 'register', id, name })
  }

  #tell(message: ToWorker): void {
    this.#worker?.postMessage(message)
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case 'up':
        this.#works()
        this.#ready?.()
        break
      case 'down':
        this.#down(message.message, message.isRefused)
        this.#ready?.()
        break
      case 'warning':
        this.#log.warn({}, `redis: ${message.message}`)
        break
      case 'items':
        this.#queueEvents?.items(message.id, message.news, message.waiting)
        break
      case 'refused':
        this.#queueEvents?.refused(message.id)
        break
    }
  }

  /** Redis has answered with an error. Others may get what they want by turns. */
  #refused(): void {
    const now = performance.now()
    if (now - this.#refusedAt < QUIET_MS) return
    this.#refusedAt = now
    this.#log.error({}, `redis: ${this.#lastError}`)
  }

  /** Said once, until it works again; and what Redis itself has against it, also when that is found out later. */
  #down(reason: string, isRefused: boolean = false): void {
    this.#lastError = reason
    if (this.#closed) return
    if (this.#isSaid) {
      if (isRefused) this.#refused()
      return
    }
    this.#isSaid = true
    this.#outages++
    this.#log.error({ reason }, `redis: ${reason}; what filters share is not available`)
  }

  #works(): void {
    if (!this.#isSaid || this.#closed) return
    this.#isSaid = false
    this.#log.info({ failures: this.#failures }, 'redis: what filters share is available again')
  }
}
