import { queueMicrotask } from '../real-time.ts'
import type { Instance } from './instance.ts'
import type { PluginContext } from './plugin-context.ts'
import type { Stream } from './stream.ts'

/** How long a context whose `proxy_on_done` answered false may take until it calls `proxy_done`. */
const DONE_GRACE_MS = 5000

/**
 * What plugin contexts and HTTP contexts have in common: an id within their instance, and an end:
 * `proxy_on_done`; when that answers false, `proxy_done` or a bounded wait; `proxy_on_delete`.
 */
export abstract class Context {
  readonly instance: Instance
  readonly id: number
  /** Of an HTTP context, and of no other. */
  readonly stream: Stream | undefined
  /** The plugin context that this one belongs to; a plugin context's own is itself. */
  abstract readonly root: PluginContext
  /** Set when the end has begun. */
  ended = false
  /** Cancels the end of the wait for `proxy_done`, while it lasts. */
  #pending: (() => void) | undefined
  #deleted = false

  constructor(instance: Instance, id: number, stream?: Stream) {
    this.instance = instance
    this.id = id
    this.stream = stream
  }

  /** Whether the end has begun and waits for the module to call `proxy_done`. */
  get pending(): boolean {
    return this.#pending !== undefined
  }

  /** Tells the module that the context is done, and deletes it, at once or when the module has called `proxy_done`. */
  protected finish(): void {
    const { instance } = this
    const { proxy_on_done } = instance.callbacks
    if (instance.failure === undefined && proxy_on_done !== undefined) {
      const done = instance.call(this, 'proxy_on_done', proxy_on_done, this.id)
      if (done === 0 && instance.failure === undefined) {
        // Who awaits the end, the close of a server for one, must not see the process exit before it.
        this.#pending = instance.clock.after(DONE_GRACE_MS, () => this.delete(), true)
        return
      }
    }
    this.delete()
  }

  /** `proxy_done`: the deletion follows when the callback that called it has returned. */
  done(): boolean {
    if (this.#pending === undefined) return false
    this.#pending()
    this.#pending = undefined
    queueMicrotask(() => this.delete())
    return true
  }

  /** Deletes the context in the module (nothing is called when its instance has failed) and here. */
  protected delete(): void {
    if (this.#deleted) return
    this.#deleted = true
    this.#pending?.()
    this.#pending = undefined
    const { instance } = this
    if (instance.failure === undefined) this.beforeDelete()
    const { proxy_on_delete } = instance.callbacks
    if (instance.failure === undefined && proxy_on_delete !== undefined) {
      instance.call(this, 'proxy_on_delete', proxy_on_delete, this.id)
    }
    instance.contexts.delete(this)
    if (instance.effective === this) instance.effective = undefined
    this.afterDelete()
  }

  /** Between done and delete. */
  protected beforeDelete(): void {}
  /** The id is free again. */
  protected abstract afterDelete(): void
}
