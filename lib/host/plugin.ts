import { FST_WASM_CONFIGURE_FAILED } from '../errors.ts'
import { BackOff, HEALTHY_MS, RESTART_DELAYS } from './back-off.ts'
import { backtraceOf } from './backtrace.ts'
import { Instance } from './instance.ts'
import type { Module } from './module.ts'
import { PluginContext } from './plugin-context.ts'
import type { PluginSettings } from './plugin-settings.ts'
import type { SdkGuess } from './sdk.ts'

/** What `Plugin.status` tells. */
export interface PluginStatus {
  name: string
  /** SHA-256 of the module */
  digest: string
  abi_version: string
  /** What the module seems to be made with, where something is to be seen in it */
  sdk: SdkGuess | null
  /** The instance in use; `null` before the first request and after a trap */
  instance: {
    /** ISO 8601 */
    started_at: string
    memory_bytes: number
  } | null
  plugin_contexts: number
  http_contexts: number
  /** http and gRPC calls that are not answered yet, and streams of gRPC that are open */
  calls: number
  /** Instances made so far */
  instances: number
  /** Instances that were discarded: traps, and starts that failed */
  failures: number
  /** Why it failed last, or would not start; `null`: it never did */
  last_failure: {
    /** ISO 8601 */
    at: string
    message: string
  } | null
}

/** What no exchange waits for: a filter that traps there alone is there again for the next exchange. */
const BESIDE_EXCHANGES: ReadonlySet<string> = new Set([
  'proxy_on_tick',
  'proxy_on_queue_ready',
  'proxy_on_foreign_function',
  'proxy_on_log',
  'proxy_on_done',
  'proxy_on_delete'
])

/** A declared plugin: a module under a name, with at most one instance at a time. */
export class Plugin {
  readonly module: Module
  readonly settings: PluginSettings
  /** Whether exchanges go on without it when it fails, for the log. */
  failsOpen = false
  #instance: Instance | undefined
  #instances = 0
  #failures = 0
  /** Why it failed last. */
  #lastFailure: PluginStatus['last_failure'] = null
  /** Whether the last attempt to make a plugin context failed. */
  #startFailed = false
  readonly #backOff: BackOff = new BackOff(RESTART_DELAYS, HEALTHY_MS)

  constructor(module: Module, settings: PluginSettings) {
    this.module = module
    this.settings = settings
  }

  get name(): string {
    return this.settings.name
  }

  /** Whether there is an instance. */
  get isRunning(): boolean {
    return this.#instance !== undefined
  }

  /**
   * Why no exchange can be served now: it has failed again and again and is not started for a while, or none of its
   * configurations could be started. `undefined` as well when it has not been needed yet, or one trap has passed.
   */
  get trouble(): string | undefined {
    const { remaining } = this.#backOff
    if (this.#instance === undefined && remaining > 0) {
      return `${this.#lastFailure?.message}; it is not started for ${Math.ceil(remaining)} ms`
    }
    return this.#startFailed && this.#pluginContexts === 0 ? this.#lastFailure?.message : undefined
  }

  /**
   * The instance, a fresh one when there is none or the last one has failed.
   *
   * @throws FST_WASM_START_FAILED
   */
  instance(): Instance {
    if (this.#instance === undefined) {
      const { counts } = this.settings
      if (this.#failures > 0 && counts !== undefined) counts.restarts++
      this.#instances++
      const since = performance.now()
      try {
        this.#instance = new Instance(this.module, this.settings, (failed) => this.#discard(failed, since))
      } catch (error) {
        this.#fail('its start', since)
        throw error
      }
    }
    return this.#instance
  }

  /**
   * Makes a plugin context; `undefined` when that failed, which is logged, and when no instance is made yet since the last
   * ones have failed.
   */
  startContext(configuration: Buffer): PluginContext | undefined {
    const { log, name } = this.settings
    if (this.#instance === undefined && this.#backOff.remaining > 0) return undefined
    try {
      const context = new PluginContext(this.instance(), configuration)
      this.#startFailed = !context.start(() => this.#refused(context))
      if (!this.#startFailed) return context
    } catch (error) {
      const err = error as Error
      this.#startFailed = true
      this.#failed(err)
      const backtrace = backtraceOf(err)
      const next = this.#next()
      log.error({ plugin: name, callback: 'its start', backtrace, next, err }, `${err.message}; ${next}`)
    }
    return undefined
  }

  #refused(context: PluginContext): void {
    const { log, name } = this.settings
    const err = new FST_WASM_CONFIGURE_FAILED(name)
    this.#failed(err)
    log.error({ plugin: name, context: context.id, err }, err.message)
  }

  /**
   * Calls `proxy_on_foreign_function` of all plugin contexts that are alive. Not from inside of a callback: SDKs are not
   * made for one within another.
   *
   * @returns how many were called: none where the module has no such callback
   */
  callForeignFunction(functionId: number, parameters: Buffer): number {
    const instance = this.#instance
    if (instance?.callbacks.proxy_on_foreign_function === undefined) return 0
    let called = 0
    for (const context of instance.contexts.values()) {
      if (!(context instanceof PluginContext) || context.ended || instance.failure !== undefined) continue
      context.callForeignFunction(functionId, parameters)
      called++
    }
    return called
  }

  status(): PluginStatus {
    const instance = this.#instance
    const pluginContexts = this.#pluginContexts
    const contexts = instance === undefined ? 0 : instance.contexts.size
    return {
      name: this.name,
      digest: this.module.digest,
      abi_version: this.module.abiVersion,
      sdk: this.module.sdk,
      instance:
        instance === undefined
          ? null
          : { started_at: new Date(instance.startedAt).toISOString(), memory_bytes: instance.memory.size },
      plugin_contexts: pluginContexts,
      http_contexts: contexts - pluginContexts,
      calls: instance?.calls.size ?? 0,
      instances: this.#instances,
      failures: this.#failures,
      last_failure: this.#lastFailure
    }
  }

  get #pluginContexts(): number {
    let count = 0
    for (const context of this.#instance?.contexts.values() ?? []) if (context instanceof PluginContext) count++
    return count
  }

  /** @returns what follows, for the log */
  #discard(failed: Instance, since: number): string {
    // One that fails while it is made is counted where it is made.
    if (this.#instance !== failed) return this.#next()
    this.#instance = undefined
    this.#failed(failed.failure!)
    const where = failed.failedIn!
    // One that was stopped has held up the process for its time.
    if (BESIDE_EXCHANGES.has(where) && !failed.stopped) this.#count(where)
    else this.#fail(where, since)
    return this.#next()
  }

  #failed({ message }: Error): void {
    this.#lastFailure = { at: new Date().toISOString(), message }
  }

  #fail(where: string, since: number): void {
    this.#count(where)
    this.#backOff.fail(since)
  }

  #count(where: string): void {
    this.#failures++
    this.settings.counts?.trapped(where)
  }

  #next(): string {
    const { remaining } = this.#backOff
    const requests = this.failsOpen ? 'its requests go on without it' : 'its requests are answered 503'
    const start = remaining === 0 ? 'at once' : `in ${Math.ceil(remaining)} ms`
    return `${requests}, and it starts again ${start}`
  }
}
