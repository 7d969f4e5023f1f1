import { setImmediate } from '../../real-time.ts'
import type { Instance } from '../instance.ts'
import { MAX_NAME } from '../limits.ts'
import { refusalOf } from '../refusals.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

/** How often one key may be refused in one turn of the event loop. */
const MAX_ATTEMPTS = 100
const MAX_DOUBTFUL = 4096

/** "Shared key-value store" of the specification. */
export function sharedData(instance: Instance): HostFunctions {
  const { memory, settings } = instance
  const refusal = refusalOf(settings.sharedData, settings.vmId, 'shared data')
  const attempts = new Attempts()
  /** Keys of which a filter was told that they are not there, while nobody could know. */
  const doubtful = new Set<string>()

  /**
   * Rust's SDK panics at all but Ok and CasMismatch. A filter that counts with compare and swap takes that for a reason to
   * try again, as often as it takes: what would never end gets another answer.
   */
  function refuse(key: string): number {
    refusal.refused(settings, `the shared data of vm_id [${settings.vmId}] is full: what would take more is refused`)
    return again(key)
  }

  function again(key: string): number {
    return attempts.count(key) > MAX_ATTEMPTS ? Status.InternalFailure : Status.CasMismatch
  }

  /**
   * Rust's SDK would panic, and with it end all exchanges of the instance, also those that need nothing of the store. It is
   * told that there is no value, and what it then sets, believing that it is the first, is refused: nothing is overwritten.
   */
  function cannotGet(key: string): number {
    if (!instance.module.panicsAtStatuses) return Status.InternalFailure
    if (doubtful.size >= MAX_DOUBTFUL) doubtful.clear()
    doubtful.add(key)
    return Status.NotFound
  }

  /** It was not set, which alone Rust's SDK takes, but not for ever. */
  function cannotSet(key: string): number {
    return instance.module.panicsAtStatuses ? again(key) : Status.InternalFailure
  }

  return {
    proxy_get_shared_data(
      keyData: number,
      keySize: number,
      returnData: number,
      returnSize: number,
      returnCas: number
    ): number {
      const key = memory.view(keyData, keySize)
      if (key === undefined || !memory.has(returnData, 4) || !memory.has(returnSize, 4) || !memory.has(returnCas, 4)) {
        return Status.InvalidMemoryAccess
      }
      if (key.length > MAX_NAME) return Status.NotFound
      const name = key.toString('latin1')
      const shared = settings.sharedData.get(settings.vmId, name)
      if (shared === 'unavailable') return cannotGet(name)
      if (doubtful.size > 0) doubtful.delete(name)
      if (shared === undefined) return Status.NotFound
      if (!memory.give(shared.value, returnData, returnSize)) return Status.InvalidMemoryAccess
      memory.setU32(returnCas, shared.cas)
      return Status.Ok
    },

    proxy_set_shared_data(keyData: number, keySize: number, valueData: number, valueSize: number, cas: number): number {
      const keyBytes = memory.view(keyData, keySize)
      const value = memory.view(valueData, valueSize)
      if (keyBytes === undefined || value === undefined) return Status.InvalidMemoryAccess
      if (keyBytes.length > MAX_NAME) return refuse('')
      const key = keyBytes.toString('latin1')
      if (doubtful.size > 0 && cas === 0 && doubtful.delete(key)) return cannotSet(key)
      const set = settings.sharedData.set(settings.vmId, key, value, cas >>> 0)
      if (set === undefined) return refuse(key)
      if (set === 'unavailable') return cannotSet(key)
      // Not a mismatch: a filter would do again what may be done.
      if (set === 'unknown') return Status.InternalFailure
      if (!set) return Status.CasMismatch
      refusal.worked()
      return Status.Ok
    }
  }
}

/** Counts how often the same is tried within one turn of the event loop. */
class Attempts {
  #what = ''
  #count = 0
  #clears = false

  count(what: string): number {
    if (what !== this.#what) this.#count = 0
    this.#what = what
    if (!this.#clears) {
      this.#clears = true
      setImmediate(() => {
        this.#clears = false
        this.#count = 0
      })
    }
    return ++this.#count
  }
}
