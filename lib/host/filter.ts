import { FST_WASM_CONFIGURE_FAILED } from '../errors.ts'
import type { HttpContext } from './http-context.ts'
import type { Plugin } from './plugin.ts'
import { PluginContext } from './plugin-context.ts'
import type { Stream } from './stream.ts'

/** A start that failed is tried again when a request needs it, at most once in this time. */
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

  /** Opens an HTTP context for an exchange; `undefined` when the filter cannot be started. */
  open(stream: Stream): HttpContext | undefined {
    let context = this.#context
    if (context === undefined || context.instance.failure !== undefined) {
      context = this.#start()
      if (context === undefined) return undefined
    }
    return context.createHttpContext(stream)
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
    const { log, name } = this.plugin.settings
    try {
      const context = new PluginContext(this.plugin.instance(), this.configuration)
      if (context.start()) {
        this.#context = context
        return context
      }
      if (context.instance.failure === undefined) {
        const err = new FST_WASM_CONFIGURE_FAILED(name)
        log.error({ plugin: name, context: context.id, err }, err.message)
      }
    } catch (error) {
      log.error({ plugin: name, err: error }, (error as Error).message)
    }
    this.#refusedAt = performance.now()
    return undefined
  }
}
