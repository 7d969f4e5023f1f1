import { Context } from './context.ts'
import { HttpContext } from './http-context.ts'
import type { Instance } from './instance.ts'
import { PropertyMap } from './property-map.ts'
import type { HttpCallResponse, Stream } from './stream.ts'
import { TickTimer } from './tick-timer.ts'

/** What a gRPC exchange has received, as far as the callback that is running may read it. */
export interface GrpcReceived {
  /** name, value, … */
  initialMetadata?: readonly string[]
  message?: Buffer
  trailingMetadata?: readonly string[]
}

/** How a call ended: what `proxy_get_status` answers. */
export interface CallStatus {
  readonly code: number
  readonly message: string
}

export const NO_STATUS: CallStatus = { code: 0, message: '' }

/**
 * A plugin context ("root context"): a module with one configuration. HTTP contexts are made in it.
 */
export class PluginContext extends Context {
  /** What `proxy_on_configure` reads. */
  readonly configuration: Buffer
  /** What the filter set with `proxy_set_property` outside of any stream. */
  readonly properties: PropertyMap = new PropertyMap()
  /** The answer that `proxy_on_http_call_response` may read: set around that callback. */
  callResponse: HttpCallResponse | undefined
  /** What the callbacks of gRPC may read: set around each. */
  grpcReceived: GrpcReceived = {}
  /** Of the call that failed, around its callback. */
  callStatus: CallStatus = NO_STATUS
  /** What `proxy_on_foreign_function` may read: set around that callback. */
  callData: Buffer | undefined
  /** Called once, when the instance has failed and the context with it. */
  onLost: (() => void) | undefined
  /** Ids of ended HTTP contexts, used again by this plugin context alone, the last one first. */
  readonly #freeIds: number[] = []
  #httpContexts = 0
  readonly #ticks: TickTimer
  /** Ends the wish for the lease that its ticks want. */
  #unwantLease: (() => void) | undefined
  /** By the id of the queue: what ends its notifications. */
  readonly #registrations: Map<number, () => void> = new Map()
  /** The same function for every queue, for a queue knows its registration by it. */
  readonly #notify: (queueId: number) => void
  #closed: (() => void) | undefined

  constructor(instance: Instance, configuration: Buffer) {
    super(instance, instance.takeId())
    this.configuration = configuration
    instance.contexts.add(this)
    const { proxy_on_tick, proxy_on_queue_ready } = instance.callbacks
    const { tickLease } = instance.settings
    this.#ticks = new TickTimer(instance.clock, () => {
      if (tickLease !== undefined && !tickLease.isHeld) return
      instance.call(this, 'proxy_on_tick', proxy_on_tick!, this.id)
    })
    this.#notify = (queueId) => {
      if (proxy_on_queue_ready === undefined) return
      instance.call(this, 'proxy_on_queue_ready', proxy_on_queue_ready, this.id, queueId)
    }
  }

  get root(): PluginContext {
    return this
  }

  get httpContexts(): number {
    return this.#httpContexts
  }

  /**
   * Creates the context in the module, starts the VM when it is the instance's first, and configures it.
   *
   * @param onRefused called when the module refuses the configuration; before the context is deleted, at which it may trap
   * @returns whether the module accepted; when not, the context is gone again (and with it the instance where the VM did
   *   not start, or the module trapped)
   */
  start(onRefused: () => void): boolean {
    return this.instance.starting(() => this.#start(onRefused))
  }

  #start(onRefused: () => void): boolean {
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
        onRefused()
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
    this.#httpContexts++
    context.create()
    return context
  }

  /** When `proxy_on_tick` is to be called next, by the clock's `monotonic`; `undefined`: never. */
  get nextTick(): bigint | undefined {
    return this.#ticks.due
  }

  /** @param period milliseconds between two calls of `proxy_on_tick`, 0: none */
  setTickPeriod(period: number): void {
    if (this.instance.callbacks.proxy_on_tick === undefined) return
    this.#ticks.set(period)
    if (period > 0) this.#unwantLease ??= this.instance.settings.tickLease?.want()
    else this.#letGoOfLease()
  }

  /**
   * Makes a queue in the scope of the plugin, or finds it, and is told by `proxy_on_queue_ready` of what comes to it.
   *
   * @returns the id of the queue
   */
  registerQueue(name: string): number {
    const { queues, vmId } = this.instance.settings
    const { id, unregister } = queues.register(vmId, name, this.#notify)
    this.#registrations.set(id, unregister)
    return id
  }

  /** Calls `proxy_on_foreign_function`. */
  callForeignFunction(functionId: number, parameters: Buffer): void {
    const { proxy_on_foreign_function } = this.instance.callbacks
    if (proxy_on_foreign_function === undefined) return
    this.callData = parameters
    const { length } = parameters
    this.instance.call(this, 'proxy_on_foreign_function', proxy_on_foreign_function, this.id, functionId, length)
    this.callData = undefined
  }

  /** The id of an ended HTTP context may be used again. */
  freeId(id: number): void {
    this.#freeIds.push(id)
  }

  httpContextEnded(): void {
    // What the failure of the instance has left behind is not counted any more.
    if (this.#httpContexts === 0) return
    this.#httpContexts--
    if (this.ended && this.#httpContexts === 0) this.finish()
  }

  /** Ends those HTTP contexts that wait for something. */
  endWaiting(): void {
    for (const context of this.#alive()) if (context.waits) context.end(true)
  }

  /** Ends the context, after the HTTP contexts in it: nobody will serve their exchanges. Resolves when it is deleted. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closed = resolve
      for (const context of this.#alive()) context.end(true)
      this.ended = true
      if (this.instance.failure !== undefined) resolve()
      else if (this.#httpContexts === 0) this.finish()
    })
  }

  /** The instance is discarded: what is left is forgotten. */
  instanceFailed(): void {
    this.#httpContexts = 0
    this.#release()
    this.#closed?.()
    this.onLost?.()
  }

  protected override beforeDelete(): void {
    // Answers of calls that are still under way have nobody left to go to.
    this.instance.calls.cancel(this)
  }

  protected afterDelete(): void {
    // Nor have those of calls that were made in the deletion, once the id is another context's.
    this.instance.calls.cancel(this)
    this.#release()
    this.instance.giveId(this.id)
    this.#closed?.()
  }

  #alive(): HttpContext[] {
    const contexts = this.instance.contexts.values()
    return contexts.filter((context) => context instanceof HttpContext && context.root === this) as HttpContext[]
  }

  /** Nothing calls the context by itself any more. */
  #release(): void {
    this.#ticks.set(0)
    this.#letGoOfLease()
    for (const unregister of this.#registrations.values()) unregister()
    this.#registrations.clear()
  }

  #letGoOfLease(): void {
    this.#unwantLease?.()
    this.#unwantLease = undefined
  }
}
