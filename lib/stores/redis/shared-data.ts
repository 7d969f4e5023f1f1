import { ownCopy } from '../own-copy.ts'
import type { SetResult, SharedData, SharedValue } from '../shared-data.ts'
import type { Bridge } from './bridge.ts'
import { slotOf } from './generations.ts'
import { MAX_BYTES, MAX_KEY, Operation, Result } from './mailbox.ts'
import { type RedisSettings, scopeOf } from './settings.ts'

/** How much of the values is kept in the process; then all copies are dropped. */
const MAX_COPIES = 65_536
const MAX_COPIED_BYTES = 64 * 1024 * 1024

const NOTHING = new Uint8Array()

/** What the value of a key was, and at which time that was known. */
interface Copy {
  /** `undefined`: there was none */
  readonly shared: SharedValue | undefined
  readonly slot: number
  readonly generation: number
  readonly epoch: number
}

/** The keys of one `vm_id`. */
interface Scope {
  /** What stands before each key in Redis, as latin1 */
  readonly prefix: string
  /** Milliseconds, 0: for ever */
  readonly ttl: number
  readonly copies: Map<string, Copy>
}

/**
 * Shared data in Redis, one for all processes. A value that nobody has changed is read from a copy, which Redis itself says
 * the end of; anything else takes a round trip, for which the thread stands still.
 */
export class RedisSharedData implements SharedData {
  readonly #bridge: Bridge
  readonly #settings: RedisSettings
  readonly #scopes: Map<string, Scope> = new Map()
  #copies = 0
  #copiedBytes = 0

  constructor(settings: RedisSettings, bridge: Bridge) {
    this.#settings = settings
    this.#bridge = bridge
  }

  get(vmId: string, key: string): SharedValue | undefined | 'unavailable' {
    const scope = this.#scope(vmId)
    const bridge = this.#bridge
    const copy = scope.copies.get(key)
    if (
      copy !== undefined &&
      copy.epoch === bridge.epoch &&
      copy.generation === bridge.generations.of(copy.slot) &&
      bridge.isTracked
    ) {
      return copy.shared
    }
    const redisKey = scope.prefix + key
    if (redisKey.length > MAX_KEY) return undefined
    const slot = slotOf(redisKey)
    // Before it is asked: a change that comes behind the answer may be seen before the answer is.
    const generation = bridge.generations.of(slot)
    const epoch = bridge.epoch
    const result = bridge.ask(Operation.get, redisKey, NOTHING)
    if (result !== Result.done && result !== Result.none) {
      this.#forget(scope, key)
      return 'unavailable'
    }
    const shared = result === Result.none ? undefined : { value: ownCopy(bridge.answer), cas: bridge.number }
    this.#keep(scope, key, { shared, slot, generation, epoch })
    return shared
  }

  set(vmId: string, key: string, value: Buffer, cas: number): SetResult {
    const scope = this.#scope(vmId)
    const bridge = this.#bridge
    const redisKey = scope.prefix + key
    if (redisKey.length > MAX_KEY || value.length > MAX_BYTES) return undefined
    const slot = slotOf(redisKey)
    const generation = bridge.generations.of(slot)
    const epoch = bridge.epoch
    const result = bridge.ask(Operation.set, redisKey, value, cas, scope.ttl)
    if (result === Result.done) {
      this.#keep(scope, key, { shared: { value: ownCopy(value), cas: bridge.number }, slot, generation, epoch })
      return true
    }
    if (result === Result.other) {
      this.#keep(scope, key, { shared: { value: ownCopy(bridge.answer), cas: bridge.number }, slot, generation, epoch })
      return false
    }
    // What was there, is.
    if (result === Result.full) return undefined
    this.#forget(scope, key)
    return result === Result.unknown ? 'unknown' : 'unavailable'
  }

  #scope(vmId: string): Scope {
    let scope = this.#scopes.get(vmId)
    if (scope === undefined) {
      const { prefix, ttlMs } = this.#settings
      const bytes = Buffer.from(`${prefix}data:${scopeOf(vmId)}`)
      const ttl = Object.hasOwn(ttlMs, vmId) ? ttlMs[vmId]! : 0
      scope = { prefix: bytes.toString('latin1'), ttl, copies: new Map() }
      this.#scopes.set(vmId, scope)
    }
    return scope
  }

  #keep(scope: Scope, key: string, copy: Copy): void {
    // Redis may notice late that the time of a key is over.
    if (scope.ttl > 0 || !this.#bridge.isTracked) return
    this.#forget(scope, key)
    const size = sizeOf(key, copy)
    if (this.#copies >= MAX_COPIES || this.#copiedBytes + size > MAX_COPIED_BYTES) {
      for (const { copies } of this.#scopes.values()) copies.clear()
      this.#copies = 0
      this.#copiedBytes = 0
    }
    this.#copies++
    this.#copiedBytes += size
    scope.copies.set(key, copy)
  }

  #forget({ copies }: Scope, key: string): void {
    const copy = copies.get(key)
    if (copy === undefined) return
    copies.delete(key)
    this.#copies--
    this.#copiedBytes -= sizeOf(key, copy)
  }
}

function sizeOf(key: string, { shared }: Copy): number {
  return key.length + (shared?.value.length ?? 0)
}
