import { Context } from './context.ts'
import { HttpContext } from './http-context.ts'
import type { Instance } from './instance.ts'
import type { HttpCallResponse, Stream } from './stream.ts'

/**
 * A plugin context ("root context"): a module with one configuration. HTTP contexts are made in it.
 */
export class PluginContext extends Context {
  /** What `proxy_on_configure` reads. */
  readonly configuration: Buffer
  /** What the filter set with `proxy_set_property` outside of any stream. */
  readonly properties: Map<string, Buffer> = new Map()
  /** The answer that `proxy_on_http_call_response` may read: set around that callback. */
  callResponse: HttpCallResponse | undefined
  /** Ids of ended HTTP contexts, used again by this plugin context alone, the last one first. */
  readonly #freeIds: number[] = []
  readonly #httpContexts: Set<HttpContext> = new Set()
  #closed: (() => void) | undefined

  constructor(instance: Instance, configuration: Buffer) {
    super(instance, instance.takeId())
    this.configuration = configuration
    instance.contexts.set(this.id, this)
  }

  get root(): PluginContext {
    return this
  }

  get httpContexts(): number {
    return this.#httpContexts.size
  }

  /**
   * Creates the context in the module, starts the VM when it is the instance's first, and configures it.
   *
   * @returns whether the module accepted; when not, the context is gone again (and with it the instance where the VM did
   *   not start, or the module trapped)
   */
  start(): boolean {
    const { instance } = this
    const { proxy_on_context_create, proxy_on_configure } = instance.callbacks
    if (proxy_on_context_create !== undefined) {
      instance.call(this, 'proxy_on_context_create', proxy_on_context_create, this.id, 0)
    }
    if (instance.failure === undefined) instance.startVm(this)
    if (instance.failure === undefined && proxy_on_configure !== undefined) {
      const { length } = this.configuration
      const accepted = instance.call(this, 'proxy_on_configure', proxy_on_configure, this.id, length)
      if (accepted === 0 && instance.failure === undefined) {
        // Without proxy_on_done: it has nothing to clean up that it was ever configured for.
        this.ended = true
        this.delete()
        return false
      }
    }
    return instance.failure === undefined
  }

  /** Makes the HTTP context of one exchange. When the module traps at it, `instance.failure` is set. */
  createHttpContext(stream: Stream): HttpContext {
    const context = new HttpContext(this, this.#freeIds.pop() ?? this.instance.takeId(), stream)
    this.#httpContexts.add(context)
    context.create()
    return context
  }

  /** The id of an ended HTTP context may be used again. */
  freeId(id: number): void {
    this.#freeIds.push(id)
  }

  httpContextEnded(context: HttpContext): void {
    this.#httpContexts.delete(context)
    if (this.ended && this.#httpContexts.size === 0) this.finish()
  }

  /** Ends the context, after the HTTP contexts in it: nobody will serve their exchanges. Resolves when it is deleted. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closed = resolve
      for (const context of [...this.#httpContexts]) context.end(true)
      this.ended = true
      if (this.instance.failure !== undefined) resolve()
      else if (this.#httpContexts.size === 0) this.finish()
    })
  }

  /** The instance is discarded: what waits is told, what is left is forgotten. */
  instanceFailed(): void {
    for (const context of this.#httpContexts) context.wake()
    this.#httpContexts.clear()
    this.#closed?.()
  }

  protected override beforeDelete(): void {
    // Answers of calls that are still under way have nobody left to go to.
    this.instance.calls.cancel(this)
  }

  protected afterDelete(): void {
    this.instance.giveId(this.id)
    this.#closed?.()
  }
}
