import { ownCopy } from './own-copy.ts'

/** A value that filters share, and the number that changes with it. */
export interface SharedValue {
  readonly value: Buffer
  /** Never 0, and another one after every change. */
  readonly cas: number
}

/**
 * Whether a value was set; `undefined`: there is no room for it, and what was there stays. Of a store that is somewhere else:
 * `unavailable`, it was not set, since the store cannot be asked now; `unknown`, nobody knows whether it was.
 */
export type SetResult = boolean | undefined | 'unavailable' | 'unknown'

/** Shared data of filters, by `vm_id` and key. It outlives the instances that use it. */
export interface SharedData {
  /** @returns `undefined` when there is none; `unavailable` when the store, which is somewhere else, cannot be asked now */
  get(vmId: string, key: string): SharedValue | undefined | 'unavailable'
  /**
   * @param value is valid for as long as the call lasts: what is kept is a copy
   * @param cas 0 sets in any case; another number only when the value still has it, or there is none
   */
  set(vmId: string, key: string, value: Buffer, cas: number): SetResult
}

/** What the shared data of one `vm_id` may take. */
export interface SharedDataLimits {
  /** Of keys and values together */
  readonly bytes: number
  readonly keys: number
}

export const SHARED_DATA_LIMITS: SharedDataLimits = { bytes: 64 * 1024 * 1024, keys: 262_144 }

/** The shared data of one `vm_id`. */
interface Scope {
  readonly values: Map<string, SharedValue>
  bytes: number
}

/** Shared data in the memory of this process. */
export class MemorySharedData implements SharedData {
  readonly #limits: SharedDataLimits
  readonly #scopes: Map<string, Scope> = new Map()
  #lastCas = 0

  constructor(limits: Partial<SharedDataLimits> = {}) {
    this.#limits = { ...SHARED_DATA_LIMITS, ...limits }
  }

  get(vmId: string, key: string): SharedValue | undefined {
    return this.#scopes.get(vmId)?.values.get(key)
  }

  set(vmId: string, key: string, value: Buffer, cas: number): boolean | undefined {
    let scope = this.#scopes.get(vmId)
    if (scope === undefined) {
      scope = { values: new Map(), bytes: 0 }
      this.#scopes.set(vmId, scope)
    }
    const { values } = scope
    const present = values.get(key)
    if (cas !== 0 && present !== undefined && present.cas !== cas) return false
    if (present === undefined && values.size >= this.#limits.keys) return undefined
    const growth = value.length - (present === undefined ? -key.length : present.value.length)
    if (growth > 0 && scope.bytes + growth > this.#limits.bytes) return undefined
    // One count for all keys: a key that is deleted and set again never has an old number.
    this.#lastCas = this.#lastCas === 0xffffffff ? 1 : this.#lastCas + 1
    values.set(key, { value: ownCopy(value), cas: this.#lastCas })
    // Last: where the stack is full the others fail.
    scope.bytes += growth
    return true
  }

  /** The keys of a `vm_id`. */
  keys(vmId: string): string[] {
    return [...(this.#scopes.get(vmId)?.values.keys() ?? [])]
  }

  /** What a `vm_id` has taken of what it may take. */
  usage(vmId: string): SharedDataLimits {
    const scope = this.#scopes.get(vmId)
    return { bytes: scope?.bytes ?? 0, keys: scope?.values.size ?? 0 }
  }
}
