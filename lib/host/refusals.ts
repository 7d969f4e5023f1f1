import type { PluginSettings } from './plugin-settings.ts'

/** How long it is not said again that something is refused. */
const QUIET_MS = 60_000

/**
 * Says in the log that something is refused: once until it has worked again, and no more than once a minute, for it may
 * work and be refused by turns.
 */
export class Refusal {
  #isSaid = false
  #saidAt = Number.NEGATIVE_INFINITY
  readonly #now: () => number

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  refused({ log, name }: PluginSettings, what: string): void {
    if (this.#isSaid) return
    const now = this.#now()
    if (now - this.#saidAt < QUIET_MS) return
    this.#isSaid = true
    this.#saidAt = now
    log.warn({ plugin: name }, `${name}: ${what}`)
  }

  worked(): void {
    this.#isSaid = false
  }
}

const refusals: WeakMap<object, Map<string, Refusal>> = new WeakMap()

/** What a store refuses to a `vm_id` is one matter for all plugins that share both. */
export function refusalOf(store: object, vmId: string, kind: string): Refusal {
  let ofStore = refusals.get(store)
  if (ofStore === undefined) {
    ofStore = new Map()
    refusals.set(store, ofStore)
  }
  const key = `${kind} ${vmId}`
  let refusal = ofStore.get(key)
  if (refusal === undefined) {
    refusal = new Refusal()
    ofStore.set(key, refusal)
  }
  return refusal
}
