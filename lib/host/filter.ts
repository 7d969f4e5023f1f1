import type { HttpContext } from './http-context.ts'
import type { Plugin } from './plugin.ts'
import type { PluginContext } from './plugin-context.ts'
import type { Stream } from './stream.ts'

/** A configuration that was refused is tried again when a request needs it, at most once in this time. */
const RETRY_MS = 1000

/**
 * A plugin with one configuration, for one owner (a route, a global rule). Its plugin context is made when the first
 * exchange needs it, and again when the instance that it stood in has failed.
 */
export class Filter {
  readonly plugin: Plugin
  readonly configuration: Buffer
  #context: PluginContext | undefined
  #refusedAt: number = Number.NEGATIVE_INFINITY

  constructor(plugin: Plugin, configuration: Buffer) {
    this.plugin = plugin
    this.configuration = configuration
  }

  /** Makes the plugin context at once, where the filter's semantics have it there before the first request. */
  start(): void {
    if (this.plugin.settings.semantics === 'envoy') this.#start()
  }

  /** The plugin context, made when there is none; `undefined` when the filter cannot be started. */
  context(): PluginContext | undefined {
    const context = this.#context
    return context === undefined || context.instance.failure !== undefined ? this.#start() : context
  }

  /** Opens an HTTP context for an exchange; `undefined` when the filter cannot be started. */
  open(stream: Stream): HttpContext | undefined {
    return this.context()?.createHttpContext(stream)
  }

  /** Ends the HTTP contexts that wait for something. */
  endWaiting(): void {
    this.#context?.endWaiting()
  }

  /** Ends the plugin context and the HTTP contexts in it. */
  async close(): Promise<void> {
    const context = this.#context
    this.#context = undefined
    await context?.close()
  }

  #start(): PluginContext | undefined {
    this.#context = undefined
    if (performance.now() - this.#refusedAt < RETRY_MS) return undefined
    this.#context = this.plugin.startContext(this.configuration)
    // An instance that is gone is the plugin's own to start again.
    if (this.#context === undefined && this.plugin.isRunning) this.#refusedAt = performance.now()
    return this.#context
  }
}
