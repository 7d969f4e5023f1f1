import { createHash } from 'node:crypto'
import { ownCopy } from '../own-copy.ts'
import { QueueAnnouncer } from '../queue-announcer.ts'
import type { Queues } from '../queues.ts'
import type { Bridge } from './bridge.ts'
import { MAX_BYTES, Operation, Result } from './mailbox.ts'
import { scopeOf } from './settings.ts'

/** Queues that the filters of a process may register. */
const MAX_QUEUES = 1024

const NOTHING = new Uint8Array()

interface Queue {
  readonly announcer: QueueAnnouncer
  /** Another name has the id. */
  isRefused: boolean
}

/**
 * Queues in Redis, one for all processes: whoever takes an item first has it, and all that have registered are told. An item
 * is gone for good when the call that took it is over; that of a process which died before comes back after a while.
 */
export class RedisQueues implements Queues {
  readonly #bridge: Bridge
  /** Those that filters of this process have registered. */
  readonly #registered: Map<number, Queue> = new Map()
  /** Those that are known to be there. */
  readonly #known: Set<number> = new Set()

  constructor(bridge: Bridge) {
    this.#bridge = bridge
    bridge.listen({
      items: (id, news, waiting) => this.#registered.get(id)?.announcer.announce(news, waiting),
      refused: (id) => {
        const queue = this.#registered.get(id)
        if (queue !== undefined) queue.isRefused = true
      }
    })
  }

  register(vmId: string, name: string, onReady: (id: number) => void): { id: number; unregister: () => void } {
    const fullName = nameOf(vmId, name)
    if (fullName.length > MAX_BYTES) return { id: 0, unregister() {} }
    const id = idOf(fullName)
    let queue = this.#registered.get(id)
    if (queue === undefined) {
      if (this.#registered.size >= MAX_QUEUES) return { id: 0, unregister() {} }
      queue = { announcer: new QueueAnnouncer(id), isRefused: false }
      this.#registered.set(id, queue)
      this.#known.add(id)
    }
    const unregister = queue.announcer.register(onReady, 0)
    // Also of one that is: what is in it is told to whoever comes.
    this.#bridge.registerQueue(id, fullName)
    return { id, unregister }
  }

  resolve(vmId: string, name: string): number | undefined {
    const fullName = nameOf(vmId, name)
    if (fullName.length > MAX_BYTES) return undefined
    const id = idOf(fullName)
    return this.#isThere(id, fullName) ? id : undefined
  }

  enqueue(id: number, item: Buffer): boolean | undefined | 'unavailable' | 'unknown' {
    if (!this.#isThere(id, '')) return false
    if (item.length > MAX_BYTES) return undefined
    switch (this.#bridge.ask(Operation.enqueue, '', item, id)) {
      case Result.done:
        return true
      case Result.full:
        return undefined
      case Result.unknown:
        return 'unknown'
      default:
        return 'unavailable'
    }
  }

  dequeue(id: number): Buffer | null | undefined {
    if (!this.#isThere(id, '')) return undefined
    const bridge = this.#bridge
    if (bridge.ask(Operation.dequeue, '', NOTHING, id) !== Result.done) return null
    bridge.acknowledge()
    return ownCopy(bridge.answer)
  }

  /** @param fullName as latin1; empty: whatever it is */
  #isThere(id: number, fullName: string): boolean {
    const queue = this.#registered.get(id)
    if (queue !== undefined) return !queue.isRefused
    if (this.#known.has(id)) return true
    if (this.#bridge.ask(Operation.resolve, fullName, NOTHING, id) !== Result.done) return false
    this.#known.add(id)
    return true
  }
}

/** As latin1. */
function nameOf(vmId: string, name: string): string {
  return Buffer.from(scopeOf(vmId)).toString('latin1') + name
}

/** The same in all processes, without a question to anybody; never 0. */
function idOf(fullName: string): number {
  return createHash('sha256').update(fullName, 'latin1').digest().readUInt32LE(0) || 1
}
