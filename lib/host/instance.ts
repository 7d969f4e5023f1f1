import { FST_WASM_START_FAILED, FST_WASM_TRAP } from '../errors.ts'
import { createImports } from './abi/imports.ts'
import { backtraceOf, keepFrames, restoreFrames } from './backtrace.ts'
import type { CallTimes } from './call-times.ts'
import { type Clock, SYSTEM_CLOCK } from './clock.ts'
import type { Context } from './context.ts'
import { ContextTable } from './context-table.ts'
import { HttpContext } from './http-context.ts'
import { DEFAULT_LIMITS, type InstanceLimits } from './limits.ts'
import { lineOf } from './log-line.ts'
import { mayTellFailure } from './log-rate.ts'
import { Memory } from './memory.ts'
import { arm, enterModule, isInModule, leaveModule, wasStopped } from './metering/clock.ts'
import type { Module } from './module.ts'
import { type CallbackMessage, callbackChannel, type Observer } from './observer.ts'
import { OutstandingCalls } from './outstanding-calls.ts'
import { PluginContext } from './plugin-context.ts'
import type { PluginSettings } from './plugin-settings.ts'
import type { Logger } from './stream.ts'
import { ProcessExit } from './wasi/process-exit.ts'
import { StandardStreams } from './wasi/standard-streams.ts'

export type Callback = (a?: number, b?: number, c?: number, d?: number, e?: number) => number

type CallbackName = keyof typeof NO_CALLBACKS
type Callbacks = { readonly [Name in CallbackName]: Callback | undefined }

/** Each instance has a copy: an object that is filled name by name would be a table to the engine, which is slow to read. */
const NO_CALLBACKS = {
  proxy_on_context_create: undefined,
  proxy_on_vm_start: undefined,
  proxy_on_configure: undefined,
  proxy_on_tick: undefined,
  proxy_on_queue_ready: undefined,
  proxy_on_foreign_function: undefined,
  proxy_on_request_headers: undefined,
  proxy_on_request_body: undefined,
  proxy_on_request_trailers: undefined,
  proxy_on_response_headers: undefined,
  proxy_on_response_body: undefined,
  proxy_on_response_trailers: undefined,
  proxy_on_http_call_response: undefined,
  proxy_on_grpc_receive_initial_metadata: undefined,
  proxy_on_grpc_receive: undefined,
  proxy_on_grpc_receive_trailing_metadata: undefined,
  proxy_on_grpc_close: undefined,
  proxy_on_done: undefined,
  proxy_on_log: undefined,
  proxy_on_delete: undefined
}
/** The exports of a module that the host calls; those that it lacks are skipped. */
export const CALLBACKS: readonly CallbackName[] = Object.keys(NO_CALLBACKS) as CallbackName[]
/** What those return that do nothing and need not be called: their answer is what is assumed without them. */
const NOT_CALLED: Partial<Record<CallbackName, number>> = {
  proxy_on_context_create: 0,
  proxy_on_request_headers: 0,
  proxy_on_response_headers: 0,
  proxy_on_done: 1,
  proxy_on_log: 0,
  proxy_on_delete: 0
}

/** Is told of the failure of an instance, and answers what follows from it, for the log. */
export type OnFailure = (instance: Instance) => string

/**
 * One instance of a module, with a linear memory of its own: the "VM" of the specification. It is entered through `call`
 * alone, which says on whose behalf, and catches what the module throws: from then on the instance has failed, and is
 * never entered again.
 */
export class Instance {
  readonly settings: PluginSettings
  readonly module: Module
  readonly memory: Memory = new Memory()
  readonly callbacks: Callbacks
  readonly contexts: ContextTable = new ContextTable()
  readonly calls: OutstandingCalls
  readonly startedAt: number = Date.now()
  readonly clock: Clock
  /** Why the instance is of no use any more. */
  failure: Error | undefined
  /** The context that the module was entered for, none while it is instantiated and initialized. */
  current: Context | undefined
  /** Whether `proxy_on_vm_start` is running: what modules of ABI 0.1.0 then read is the VM's configuration. */
  startingVm = false
  /** Where it failed: the export, or what of the host; and whether it was stopped since its time was over. */
  failedIn: string | undefined
  stopped = false
  #failedFor: Context | undefined
  /** The export that the module was entered by last. */
  entry = 'its start'
  /** What `proxy_set_effective_context` chose, until the callback returns. */
  effective: Context | undefined
  /** The exchange whose call is answered, until the callback returns: that is the plugin context's. */
  answered: HttpContext | undefined
  readonly standardStreams: StandardStreams
  readonly limits: InstanceLimits
  /** Whether it starts, or a plugin context does: its calls may then take longer. */
  #starting = true
  readonly #onFailure: OnFailure
  #nextFailed: Instance | undefined
  readonly #times: CallTimes | undefined
  readonly #observer: Observer | undefined
  readonly #freeIds: number[] = []
  #nextId = 1
  #vmStarted = false

  /**
   * Instantiates and initializes.
   *
   * @param onFailure called once, when the instance fails after it was made
   * @throws FST_WASM_START_FAILED
   */
  constructor(module: Module, settings: PluginSettings, onFailure: OnFailure) {
    this.module = module
    this.settings = settings
    this.#onFailure = onFailure
    this.limits = settings.limits ?? DEFAULT_LIMITS
    this.clock = settings.clock ?? SYSTEM_CLOCK
    this.#times = settings.counts?.times
    this.#observer = settings.observer
    this.calls = new OutstandingCalls(this)
    this.standardStreams = new StandardStreams(this)
    let functions: Record<string, Callback | undefined>
    const depth = enterModule(this.#time)
    const frames = keepFrames()
    try {
      const imports = createImports(this)
      const { exports } = new WebAssembly.Instance(module.compiled as WebAssembly.Module, imports)
      functions = functionsOf(exports)
      if (module.hookTable !== undefined) arm(exports[module.hookTable])
      const allocate = (functions.proxy_on_memory_allocate ?? functions.malloc) as (size: number) => number
      this.memory.attach(memoryOf(module, exports, imports), (size) => this.#allocate(allocate, size))
      if (module.start !== undefined) functions[module.start]!()
      initialize(functions)
      // The module may have caught what ended it.
      if (this.failure !== undefined) throw this.failure
    } catch (error) {
      this.failure = error as Error
      this.standardStreams.flush()
      throw new FST_WASM_START_FAILED(settings.name, this.#reasonOf(error).message, { cause: error as Error })
    } finally {
      restoreFrames(frames)
      leaveModule(depth)
      Instance.#endFailed()
      this.#starting = false
    }
    this.standardStreams.flush()
    const callbacks: Record<string, unknown> = { ...NO_CALLBACKS }
    for (const name of CALLBACKS) {
      const constant = module.trivial.get(name)
      callbacks[name] = constant !== undefined && constant === NOT_CALLED[name] ? undefined : functions[name]
    }
    // ABI 0.1.0 knows no such callback, whatever a module exports under its name.
    if (module.abiVersion === '0.1.0') callbacks.proxy_on_foreign_function = undefined
    this.callbacks = callbacks as Callbacks
  }

  /** The context that host functions act on. */
  get active(): Context | undefined {
    return this.effective ?? this.current
  }

  /** The stream that host functions act on, when they act on one. */
  get activeHttpContext(): HttpContext | undefined {
    const { active } = this
    // Every host function asks for it, and `instanceof` looks at the prototypes.
    return active?.stream === undefined ? undefined : (active as HttpContext)
  }

  /** Where a line of the active context goes: to its request's logger when there is a request. */
  get log(): Logger {
    return this.activeHttpContext?.stream.log ?? this.settings.log
  }

  /**
   * Calls an export on behalf of a context.
   *
   * @returns what the export returned; when it trapped, 0, and `failure` says why. 0 as well when the instance had failed
   *   before: V8 would go on calling it
   */
  call(context: Context, name: string, callback: Callback, a?: number, b?: number, c?: number, d?: number, e?: number) {
    if (this.failure !== undefined) return 0
    const times = this.#times
    const begun = times === undefined ? 0 : performance.now()
    const result =
      this.#observer !== undefined || callbackChannel.hasSubscribers
        ? this.#callWatched(context, name, callback, a, b, c, d, e)
        : this.#enter(context, name, callback, a, b, c, d, e)
    if (times !== undefined) times.add(name, performance.now() - begun)
    return result
  }

  #enter(
    context: Context,
    name: string,
    callback: Callback,
    a?: number,
    b?: number,
    c?: number,
    d?: number,
    e?: number
  ) {
    const { current, effective } = this
    this.current = context
    this.effective = undefined
    this.entry = name
    let result = 0
    const depth = enterModule(this.#time)
    const frames = keepFrames()
    try {
      result = callback(a, b, c, d, e)
    } catch (error) {
      // Those of the host's own errors are not wanted.
      restoreFrames(frames)
      this.fail(name, error)
    }
    restoreFrames(frames)
    leaveModule(depth)
    if (this.standardStreams.partial) this.standardStreams.flush()
    this.current = current
    this.effective = effective
    if (Instance.#lastFailed !== undefined) Instance.#endFailed()
    return result
  }

  #callWatched(context: Context, name: string, callback: Callback, ...parameters: (number | undefined)[]): number {
    const message: CallbackMessage = {
      plugin: this.settings.name,
      callback: name,
      context: context.id,
      rootContext: context.root.id,
      request: (context instanceof HttpContext ? context : this.answered)?.stream.request,
      parameters: parameters.slice(1)
    }
    const [a, b, c, d, e] = parameters
    const enter = () => {
      this.#observer?.callbackStarts?.(message)
      const result = this.#enter(context, name, callback, a, b, c, d, e)
      if (this.failure !== undefined) message.error = this.failure
      else if (result !== undefined) message.result = result
      this.#observer?.callbackEnds?.(message)
      return result
    }
    if (!callbackChannel.hasSubscribers) return enter()
    const { start, end, error } = callbackChannel
    return start.runStores(message, () => {
      const result = enter()
      if (message.error !== undefined) error.publish(message)
      end.publish(message)
      return result
    })
  }

  /** Runs what starts a plugin context: its calls may take longer than others. */
  starting<Result>(action: () => Result): Result {
    const before = this.#starting
    this.#starting = true
    try {
      return action()
    } finally {
      this.#starting = before
    }
  }

  /** `proxy_on_vm_start`, before the first configuration of the instance. */
  startVm(root: PluginContext): void {
    if (this.#vmStarted) return
    this.#vmStarted = true
    const { proxy_on_vm_start } = this.callbacks
    if (proxy_on_vm_start === undefined) return
    const { length } = this.settings.vmConfiguration
    this.startingVm = true
    const started = this.call(root, 'proxy_on_vm_start', proxy_on_vm_start, root.id, length)
    this.startingVm = false
    if (started === 0 && this.failure === undefined)
      this.fail('proxy_on_vm_start', new FST_WASM_START_FAILED(this.settings.name, 'it answered false'))
  }

  /**
   * Marks the instance as failed: nothing enters it again. What follows from that, it does when the stack is free again: a
   * module may fail where there is no room on it for anything, not even a call.
   */
  fail(where: string, error: unknown): void {
    if (this.failure !== undefined) return
    this.failure = error as Error
    this.failedIn = where
    this.#failedFor = this.active
    this.#nextFailed = Instance.#lastFailed
    Instance.#lastFailed = this
    if (!isInModule()) Instance.#endFailed()
  }

  /** The last one of those that have failed, and whose end is to come. */
  static #lastFailed: Instance | undefined

  static #endFailed(): void {
    while (Instance.#lastFailed !== undefined && !isInModule()) {
      const failed = Instance.#lastFailed
      Instance.#lastFailed = failed.#nextFailed
      failed.#end()
    }
  }

  /** It has failed: its contexts are woken, and its calls cancelled. */
  #end(): void {
    const cause = this.#reasonOf(this.failure)
    const failure = new FST_WASM_TRAP(this.settings.name, this.failedIn!, cause.message, { cause })
    this.failure = failure
    this.stopped = wasStopped()
    this.standardStreams.flush()
    // First, so that it is known when there will be another instance.
    const next = this.#onFailure(this)
    this.#logFailure(failure, cause, next)
    this.calls.cancelAll()
    const contexts = this.contexts.values()
    this.contexts.clear()
    for (const context of contexts) if (context instanceof HttpContext) context.wake()
    for (const context of contexts) if (context instanceof PluginContext) context.instanceFailed()
  }

  /** All there is to say, in one line. */
  #logFailure(failure: Error, cause: Error, next: string): void {
    const { settings, failedIn: where } = this
    if (!mayTellFailure(settings)) return
    const context = this.#failedFor
    const stream = context instanceof HttpContext ? context.stream : undefined
    const log = stream?.log ?? settings.log
    const route = stream?.route
    const backtrace = backtraceOf(cause)
    // Of a module that was stopped by its metering the first is no function of its own.
    if (this.stopped && cause.cause instanceof WebAssembly.RuntimeError) backtrace.shift()
    const fields = {
      plugin: settings.name,
      context: context?.id,
      ...(route !== undefined && { route }),
      callback: where,
      backtrace,
      next,
      err: failure
    }
    const through = backtrace.length === 0 ? '' : `, in ${backtrace.join(' < ')}`
    log.error(
      fields,
      `${settings.name}: failed to run wasm plugin: failed to run ${where}: ${lineOf(Buffer.from(cause.message + through))}; ${next}`
    )
  }

  /** A context id that none is using. Plugin contexts and HTTP contexts share one count, from 1. */
  takeId(): number {
    return this.#freeIds.pop() ?? this.#nextId++
  }

  /** The id of a plugin context that has ended: for another plugin context. */
  giveId(id: number): void {
    this.#freeIds.push(id)
  }

  /** Milliseconds that a call may take now. */
  get #time(): number {
    const { callMs, startMs } = this.limits
    return (this.#starting ? startMs : callMs) || Number.POSITIVE_INFINITY
  }

  /** Why the module trapped: what V8 says of it is `unreachable` when it was stopped. */
  #reasonOf(error: unknown): Error {
    // What WebAssembly throws of itself is no error of JavaScript's.
    if (!wasStopped()) return error instanceof Error ? error : new Error('it threw an exception', { cause: error })
    const limit = this.#starting ? 'start_ms' : 'call_ms'
    return new Error(`it ran for more than ${this.#time} ms, and was stopped (limits.${limit})`, { cause: error })
  }

  #allocate(allocate: (size: number) => number, size: number): number {
    try {
      return allocate(size)
    } catch (error) {
      // The host function that wanted memory stands between this trap and `call`: it must not go on as if nothing was.
      this.fail('the allocator', error)
      throw error
    }
  }
}

/** A module may export something else under the name of a function that the host looks for. */
function functionsOf(exports: Record<string, unknown>): Record<string, Callback | undefined> {
  return Object.fromEntries(Object.entries(exports).filter(([, item]) => typeof item === 'function')) as Record<
    string,
    Callback
  >
}

/** The one that the module exports, or else the first one that it imports. */
function memoryOf(
  { importedMemories: [first] }: Module,
  exports: Record<string, unknown>,
  imports: Record<string, Record<string, unknown>>
): WebAssembly.Memory {
  if (exports.memory instanceof WebAssembly.Memory) return exports.memory
  return imports[first!.module]![first!.name] as WebAssembly.Memory
}

/**
 * Runs the module's own entry: `_initialize` and then `main` for a reactor, else `_start` for a command;
 * a module with neither had a start section, or needs nothing.
 */
function initialize({ _initialize, _start, main }: Record<string, Callback | undefined>): void {
  if (_initialize !== undefined) {
    _initialize()
    main?.(0, 0)
  } else if (_start !== undefined) {
    try {
      _start()
    } catch (error) {
      // A command may end with exit(0); its exports stay usable.
      if (!(error instanceof ProcessExit && error.exitCode === 0)) throw error
    }
  }
}
