import { randomInt } from 'node:crypto'
import { ownCopy } from './own-copy.ts'
import { QueueAnnouncer } from './queue-announcer.ts'

/** Queues of filters, by `vm_id` and name. They outlive the instances that use them. */
export interface Queues {
  /**
   * Makes a queue, or finds it with what is in it.
   *
   * @param onReady called once for every item that comes, in a later turn of the event loop; it stands in place of that of
   *   an earlier registration. Of what came when nobody was registered it is told too, as far as it is still there
   * @returns the id of the queue, 0 when there is no room for another one; and what ends the notifications
   */
  register(vmId: string, name: string, onReady: (id: number) => void): { id: number; unregister: () => void }
  /** The id of a queue that was registered. */
  resolve(vmId: string, name: string): number | undefined
  /**
   * @param item is valid for as long as the call lasts: what is kept is a copy
   * @returns false when there is no such queue, `undefined` when there is no room for the item. Of queues that are somewhere
   *   else: `unavailable`, it was not put there, since they cannot be asked now; `unknown`, nobody knows whether it was
   */
  enqueue(id: number, item: Buffer): boolean | undefined | 'unavailable' | 'unknown'
  /** @returns `null` when the queue is empty, or cannot be asked now; `undefined` when there is none */
  dequeue(id: number): Buffer | null | undefined
}

/** What the queues of one `vm_id` may take. */
export interface QueueLimits {
  /** Of all items, and of the names of the queues */
  readonly bytes: number
  /** In all queues together */
  readonly items: number
  readonly queues: number
}

export const QUEUE_LIMITS: QueueLimits = { bytes: 64 * 1024 * 1024, items: 262_144, queues: 1024 }

const NOTHING = Buffer.alloc(0)

/** The queues of one `vm_id`. */
interface Scope {
  readonly queues: Map<string, Queue>
  bytes: number
  items: number
}

class Queue {
  readonly id: number
  readonly scope: Scope
  readonly #items: Buffer[] = []
  #first = 0
  readonly #announcer: QueueAnnouncer

  constructor(id: number, scope: Scope) {
    this.id = id
    this.scope = scope
    this.#announcer = new QueueAnnouncer(id)
  }

  push(item: Buffer): void {
    this.#items.push(item)
    this.scope.items++
    this.scope.bytes += item.length
    this.#announcer.announce(1)
  }

  shift(): Buffer | null {
    if (this.#first === this.#items.length) return null
    const item = this.#items[this.#first]!
    this.#items[this.#first] = NOTHING
    this.#first++
    this.scope.items--
    this.scope.bytes -= item.length
    // Removing from the front of an array costs its length: once in a while is enough.
    if (this.#first * 2 > this.#items.length) {
      this.#items.splice(0, this.#first)
      this.#first = 0
    }
    return item
  }

  items(): Buffer[] {
    return this.#items.slice(this.#first)
  }

  register(onReady: (id: number) => void): () => void {
    return this.#announcer.register(onReady, this.#items.length - this.#first)
  }
}

/** Queues in the memory of this process. */
export class MemoryQueues implements Queues {
  readonly #limits: QueueLimits
  readonly #byId: Map<number, Queue> = new Map()
  readonly #scopes: Map<string, Scope> = new Map()

  constructor(limits: Partial<QueueLimits> = {}) {
    this.#limits = { ...QUEUE_LIMITS, ...limits }
  }

  register(vmId: string, name: string, onReady: (id: number) => void): { id: number; unregister: () => void } {
    let scope = this.#scopes.get(vmId)
    if (scope === undefined) {
      scope = { queues: new Map(), bytes: 0, items: 0 }
      this.#scopes.set(vmId, scope)
    }
    let queue = scope.queues.get(name)
    if (queue === undefined) {
      if (scope.queues.size >= this.#limits.queues || !this.#fits(scope, name.length)) {
        return { id: 0, unregister() {} }
      }
      queue = new Queue(this.#freeId(), scope)
      scope.queues.set(name, queue)
      scope.bytes += name.length
      this.#byId.set(queue.id, queue)
    }
    return { id: queue.id, unregister: queue.register(onReady) }
  }

  resolve(vmId: string, name: string): number | undefined {
    return this.#scopes.get(vmId)?.queues.get(name)?.id
  }

  enqueue(id: number, item: Buffer): boolean | undefined {
    const queue = this.#byId.get(id)
    if (queue === undefined) return false
    if (queue.scope.items >= this.#limits.items || !this.#fits(queue.scope, item.length)) return undefined
    queue.push(ownCopy(item))
    return true
  }

  dequeue(id: number): Buffer | null | undefined {
    return this.#byId.get(id)?.shift()
  }

  /** What is in a queue, the first first; `undefined` when there is none of that name. */
  items(vmId: string, name: string): Buffer[] | undefined {
    return this.#scopes.get(vmId)?.queues.get(name)?.items()
  }

  /** What a `vm_id` has taken of what it may take. */
  usage(vmId: string): QueueLimits {
    const scope = this.#scopes.get(vmId)
    return { bytes: scope?.bytes ?? 0, items: scope?.items ?? 0, queues: scope?.queues.size ?? 0 }
  }

  /** None that could be guessed: who has it has been told the `vm_id` and the name, by whoever. Never 0. */
  #freeId(): number {
    for (;;) {
      const id = randomInt(1, 2 ** 32)
      if (!this.#byId.has(id)) return id
    }
  }

  #fits(scope: Scope, bytes: number): boolean {
    return scope.bytes + bytes <= this.#limits.bytes
  }
}
