/** Queues of filters, by `vm_id` and name. They outlive the instances that use them. */
export interface Queues {
  /**
   * Makes a queue, or finds it with what is in it.
   *
   * @param onReady called once for every item that comes, in a later turn of the event loop; it stands in place of that of
   *   an earlier registration. Of what came when nobody was registered it is told too, as far as it is still there
   * @returns the id of the queue, and what ends the notifications
   */
  register(vmId: string, name: string, onReady: (id: number) => void): { id: number; unregister: () => void }
  /** The id of a queue that was registered. */
  resolve(vmId: string, name: string): number | undefined
  /** @returns false when there is no such queue */
  enqueue(id: number, item: Buffer): boolean
  /** @returns `null` when the queue is empty, `undefined` when there is none */
  dequeue(id: number): Buffer | null | undefined
}

class Queue {
  readonly id: number
  readonly #items: Buffer[] = []
  #first = 0
  #onReady: ((id: number) => void) | undefined
  /** How many items came when nobody was registered. */
  #unheard = 0

  constructor(id: number) {
    this.id = id
  }

  push(item: Buffer): void {
    this.#items.push(item)
    setImmediate(() => this.#tell())
  }

  shift(): Buffer | null {
    if (this.#first === this.#items.length) return null
    const item = this.#items[this.#first]!
    this.#first++
    // Removing from the front of an array costs its length: once in a while is enough.
    if (this.#first * 2 > this.#items.length) {
      this.#items.splice(0, this.#first)
      this.#first = 0
    }
    return item
  }

  register(onReady: (id: number) => void): () => void {
    this.#onReady = onReady
    // A consumer that takes an item for each call would stay behind for ever by those that came between two registrations.
    const missed = Math.min(this.#unheard, this.#items.length - this.#first)
    this.#unheard = 0
    for (let i = 0; i < missed; i++) setImmediate(() => this.#tell())
    return () => {
      if (this.#onReady === onReady) this.#onReady = undefined
    }
  }

  #tell(): void {
    if (this.#onReady === undefined) this.#unheard++
    else this.#onReady(this.id)
  }
}

/** Queues in the memory of this process. */
export class MemoryQueues implements Queues {
  readonly #byId: Map<number, Queue> = new Map()
  readonly #byName: Map<string, Map<string, Queue>> = new Map()

  register(vmId: string, name: string, onReady: (id: number) => void): { id: number; unregister: () => void } {
    let names = this.#byName.get(vmId)
    if (names === undefined) {
      names = new Map()
      this.#byName.set(vmId, names)
    }
    let queue = names.get(name)
    if (queue === undefined) {
      queue = new Queue(this.#byId.size + 1)
      names.set(name, queue)
      this.#byId.set(queue.id, queue)
    }
    return { id: queue.id, unregister: queue.register(onReady) }
  }

  resolve(vmId: string, name: string): number | undefined {
    return this.#byName.get(vmId)?.get(name)?.id
  }

  enqueue(id: number, item: Buffer): boolean {
    const queue = this.#byId.get(id)
    queue?.push(item)
    return queue !== undefined
  }

  dequeue(id: number): Buffer | null | undefined {
    return this.#byId.get(id)?.shift()
  }
}
