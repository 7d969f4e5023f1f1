import { BackOff } from './back-off.ts'
import type { Plugin } from './plugin.ts'
import type { PluginContext } from './plugin-context.ts'

const RETRY_DELAYS = [1000, 2000, 4000, 8000, 16_000, 30_000]
const HEALTHY_MS = 30_000

/**
 * A plugin context that no exchange needs: for what a filter does by itself, with ticks, queues and calls. Where the module
 * refuses it, or its instance fails, it is made again: after a second, and less and less often while that goes on.
 */
export class StandingContext {
  readonly #plugin: Plugin
  readonly #configuration: Buffer
  #context: PluginContext | undefined
  #startedAt = 0
  readonly #backOff: BackOff = new BackOff(RETRY_DELAYS, HEALTHY_MS)
  #retry: ReturnType<typeof setTimeout> | undefined
  #closed = false

  constructor(plugin: Plugin, configuration: Buffer) {
    this.#plugin = plugin
    this.#configuration = configuration
  }

  /** Makes the context. What goes wrong is logged, and tried again. */
  start(): void {
    this.#startedAt = performance.now()
    this.#context = this.#plugin.startContext(this.#configuration)
    if (this.#context === undefined) this.#startLater()
    else this.#context.onLost = () => this.#lost()
  }

  /** Ends the context, and it is not made again. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#retry)
    await this.#context?.close()
  }

  #lost(): void {
    this.#context = undefined
    this.#startLater()
  }

  #startLater(): void {
    if (this.#closed) return
    this.#backOff.fail(this.#startedAt)
    this.#retry = setTimeout(() => this.start(), this.#backOff.remaining)
    this.#retry.unref()
  }
}
