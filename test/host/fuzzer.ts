import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { Status } from '../../lib/host/abi/constants.ts'
import {
  Filter,
  foreignFunctionsWith,
  type HttpContext,
  type Logger,
  type Module,
  Plugin,
  type PluginSettings
} from '../../lib/host/index.ts'
import { enterModule, leaveModule } from '../../lib/host/metering/clock.ts'
import { ProcessExit } from '../../lib/host/wasi/process-exit.ts'
import { Errno } from '../../lib/host/wasi/wasi.ts'
import { FakeGrpcCalls, type FakeGrpcExchange } from './fake-grpc-calls.ts'
import { FakeHttpCalls } from './fake-http-calls.ts'
import { FakeStream } from './fake-stream.ts'
import { argumentsOf, CANARY_BYTES, isCell, WINDOW_BYTES } from './fuzz-arguments.ts'
import {
  AllocatorMode,
  ANSWER,
  ARGUMENTS,
  CANARY,
  CATCHES,
  FIRST,
  IMPORTS,
  MODE,
  RESULT,
  SECOND,
  STOP,
  WINDOW
} from './fuzz-guest.ts'
import type { Random } from './fuzz-random.ts'
import type { Stores } from './host.ts'

const STATUSES: ReadonlySet<number> = new Set(Object.values(Status))
const ERRNOS: ReadonlySet<number> = new Set(Object.values(Errno))
/** End the instance on purpose. */
const ENDS: ReadonlySet<string> = new Set(['proc_exit', 'abort'])
/** Answer no status. */
const NO_STATUS: ReadonlySet<string> = new Set([
  'abort',
  'seed',
  'trace',
  'pthread_equal',
  'emscripten_notify_memory_growth'
])
const MAX_STREAMS = 4
/** Calls of one instance, unless it ends before. */
const CALLS = 2000

/** Notices what the host says of itself. */
class WatchfulLogger implements Logger {
  readonly level = 'trace'
  /** An exception in a host function, or in what it called. */
  thrown: Error | undefined
  trace(): void {}
  debug(): void {}
  info(): void {}
  warn(): void {}
  error({ err }: { err?: Error }, message: string): void {
    if (message.endsWith('failed in the host')) this.thrown ??= err ?? new Error(message)
  }
  fatal(): void {}
}

class Stream extends FakeStream {
  override readonly log: never

  constructor(log: Logger) {
    super(['x-name', 'one', 'cookie', 'a=b'])
    this.log = log as never
  }
}

/** One instance, in all of whose callbacks any host functions are called with any arguments. */
export class Fuzzer {
  /** How many calls answered what, by the names of the functions. */
  readonly answers: Map<string, Map<number, number>>
  readonly #random: Random
  readonly #log: WatchfulLogger = new WatchfulLogger()
  readonly #httpCalls: FakeHttpCalls = new FakeHttpCalls()
  readonly #grpcCalls: FakeGrpcCalls = new FakeGrpcCalls()
  readonly #plugin: Plugin
  readonly #instance: ReturnType<Plugin['instance']>
  readonly #filters: Filter[] = []
  readonly #open: { context: HttpContext; stream: Stream }[] = []
  /** Makes one call, outside of any callback. */
  readonly #step: (at: number) => void
  /** The calls that are under way, for the error. */
  #current: { name: string; isRight: boolean; args: (number | bigint)[] }[] = []
  /** What the host has answered that may be one: of a metric, a queue, a call. */
  #ids: number[] = []
  /** Calls that are left for the callback. */
  #left = 0
  #made = 0
  #problem: Error | undefined
  /** The module has asked for its end: it may have caught that, and have gone on. */
  #aborts = false
  #ended = false

  constructor(module: Module, stores: Stores, random: Random, answers: Map<string, Map<number, number>>) {
    this.answers = answers
    this.#random = random
    const settings: PluginSettings = {
      name: 'fuzz',
      semantics: random.pick(['apisix', 'envoy']),
      vmId: 'vm',
      rootId: 'root',
      vmConfiguration: Buffer.from('vm configuration'),
      environment: { A: '1', NAME: 'value' },
      log: this.#log,
      httpCalls: this.#httpCalls,
      grpcCalls: this.#grpcCalls,
      ...stores,
      foreignFunctions: foreignFunctionsWith([['next', () => this.#next()]])
    }
    this.#plugin = new Plugin(module, settings)
    const [instance, exports] = withExports(() => this.#plugin.instance())
    this.#instance = instance
    this.#step = exports.step as (at: number) => void
    instance.memory.write(CANARY.from, CANARY_BYTES)
  }

  /**
   * Lets the instance live, until it ends or has made enough calls, and be closed.
   *
   * @param passTime lets that many milliseconds pass at once
   * @returns how many calls were made
   * @throws when one of them did what it must not
   */
  async run(passTime: (milliseconds: number) => void): Promise<number> {
    while (!this.#ended && this.#made < CALLS) {
      this.#prepare()
      this.#act()
      this.#check()
      if (this.#random.percent(5)) passTime(this.#random.below(2000))
      if (this.#random.percent(20)) await turn()
      this.#check()
    }
    await this.#close(passTime)
    return this.#made
  }

  /** Something happens to the filter, which leads to a callback. */
  #act(): void {
    const random = this.#random
    const open = this.#open.length === 0 ? undefined : random.pick(this.#open)
    const exchange = this.#grpcCalls.exchanges.findLast(({ state }) => state === 'open')
    const kind = random.below(15)
    if (kind === 0 || this.#filters.length === 0) this.#filters.push(new Filter(this.#plugin, this.#bytes()))
    else if (kind === 1 || open === undefined) this.#openStream()
    else if (kind === 2) this.#end(open)
    else if (kind === 3) this.#plugin.callForeignFunction(random.u32(), this.#bytes())
    else if (kind === 4) this.#outside()
    else if (kind < 7) this.#answerHttp()
    else if (kind < 9 && exchange !== undefined) this.#answerGrpc(exchange)
    else this.#phase(open)
  }

  #openStream(): void {
    if (this.#filters.length === 0 || this.#open.length >= MAX_STREAMS) return
    const stream = new Stream(this.#log)
    const context = this.#random.pick(this.#filters).open(stream)
    if (context === undefined) return
    stream.contexts.push(context)
    this.#open.push({ context, stream })
  }

  #phase({ context, stream }: { context: HttpContext; stream: Stream }): void {
    const random = this.#random
    const atEnd = random.percent(50)
    switch (random.below(6)) {
      case 0:
        context.requestHeaders(atEnd)
        break
      case 1:
        context.requestBodyPhase({ bytes: this.#bytes(), changed: false }, atEnd)
        break
      case 2:
        context.requestTrailers()
        break
      case 3:
        stream.respond(['x-name', 'one', 'set-cookie', 'a=b'])
        context.responseHeaders(atEnd)
        break
      case 4:
        context.responseBodyPhase({ bytes: this.#bytes(), changed: false }, atEnd)
        break
      default:
        context.responseTrailers()
    }
  }

  #end(open: { context: HttpContext }): void {
    this.#open.splice(this.#open.indexOf(open as never), 1)
    open.context.end(this.#random.percent(50))
  }

  #answerHttp(): void {
    const { sent, outstanding } = this.#httpCalls
    if (outstanding.length === 0) return
    const index = sent.indexOf(this.#random.pick(outstanding))
    if (this.#random.percent(30)) this.#httpCalls.fail(index)
    else this.#httpCalls.answer(index, { body: this.#bytes(), trailers: ['x-trailer', '1'] })
  }

  #answerGrpc(exchange: FakeGrpcExchange): void {
    const { events } = exchange
    const kind = this.#random.below(4)
    if (kind === 0) events.initialMetadata(['x-name', '1'])
    else if (kind === 1) events.message(this.#bytes())
    else if (kind === 2) events.trailingMetadata(['x-name', '1'])
    else exchange.close(this.#random.below(17), 'over')
  }

  /** Calls without a context, as a module that is initialized makes them, or one that has caught what has ended it. */
  #outside(): void {
    for (; this.#left > 0; this.#left--) {
      this.#write(FIRST)
      const depth = enterModule(Number.POSITIVE_INFINITY)
      try {
        this.#step(FIRST)
        this.#verify()
      } catch (error) {
        // Through a module that has ended every exception passes: it may stop that.
        if (!this.#ended && !this.#mayFail(error as Error)) throw error
        this.#ended = true
        this.#current = []
      } finally {
        leaveModule(depth)
      }
    }
  }

  /** What the module asks for in its callbacks. What is thrown here, the module would not pass on. */
  #next(): undefined {
    try {
      this.#verify()
    } catch (error) {
      this.#problem ??= error as Error
      this.#left = 0
    }
    this.#current = []
    if (this.#left-- > 0) this.#write(FIRST)
    else this.#instance.memory.setU32(FIRST, STOP)
  }

  /** Sets everything that calls may have changed. */
  #prepare(): void {
    const { memory } = this.#instance
    this.#left = this.#random.below(40)
    this.#current = []
    memory.write(WINDOW.from, WINDOW_BYTES)
    for (let i = 0; i < 4; i++) {
      memory.write(WINDOW.from + this.#random.below(16384), Uint8Array.of(this.#random.below(256)))
    }
  }

  #write(at: number): void {
    const { memory } = this.#instance
    const random = this.#random
    let index = random.percent(75) ? random.below(IMPORTS.length / SHAPES) * SHAPES : random.below(IMPORTS.length)
    while (ENDS.has(IMPORTS[index]!.name) && !random.percent(1)) index = random.below(IMPORTS.length)
    if (!IMPORTS[index]!.isRight && IMPORTS[index + 1]?.isRight && random.percent(75)) index++
    // What toolchains import has no guard: an exception in it ends the instance.
    if (NO_STATUS.has(IMPORTS[index]!.name)) index -= index % SHAPES
    const called = IMPORTS[index]!
    const args = argumentsOf(called, random, memory.size, this.#ids)
    memory.setU32(at, index)
    args.forEach((arg, i) => {
      if (typeof arg === 'bigint') memory.setU64(at + ARGUMENTS + i * 8, arg)
      else memory.setU32(at + ARGUMENTS + i * 8, arg)
    })
    memory.setU32(at + RESULT, STOP)
    const mode = random.percent(80) ? AllocatorMode.Works : random.below(random.percent(1) ? 6 : 5)
    memory.setU32(MODE, mode)
    memory.setU32(CATCHES, random.below(2))
    memory.setU32(ANSWER, random.percent(70) ? random.below(2) : random.u32())
    if (at === FIRST) this.#current = []
    if (called.name === 'abort') this.#aborts = true
    this.#current.push({ name: called.name, isRight: called.isRight, args })
    this.#made++
    if (mode === AllocatorMode.Calls && at === FIRST) this.#write(SECOND)
    if (at === SECOND) memory.setU32(MODE, AllocatorMode.Calls)
  }

  /** After calls that have returned. */
  #verify(): void {
    const { thrown } = this.#log
    this.#log.thrown = undefined
    const [first, second] = this.#current
    if (first === undefined) return
    if (thrown !== undefined && first.isRight && second?.isRight !== false) {
      throw new Error(`an exception in the host: ${this.#describe()}`, { cause: thrown })
    }
    const result = this.#instance.memory.u32(FIRST + RESULT)
    // It threw, and the module has caught that.
    if (result === STOP && (first.name === 'abort' || this.#instance.failure !== undefined)) return
    const known = first.name.startsWith('proxy_') ? STATUSES : ERRNOS
    assert.ok(NO_STATUS.has(first.name) || known.has(result), `${result} is no status: ${this.#describe()}`)
    let counts = this.answers.get(first.name)
    if (counts === undefined) {
      counts = new Map()
      this.answers.set(first.name, counts)
    }
    counts.set(result, (counts.get(result) ?? 0) + 1)
    if (result === 0 && first.isRight) this.#learn(first.args)
  }

  /** A host function may have written an id. */
  #learn(args: readonly (number | bigint)[]): void {
    for (const arg of args) {
      if (typeof arg !== 'number' || !isCell(arg)) continue
      const answer = this.#instance.memory.u32(arg)
      if (answer > 0 && answer < 1000) this.#ids.push(answer)
    }
    this.#ids = this.#ids.slice(-16)
  }

  /** After a callback. */
  #check(): void {
    if (this.#problem !== undefined) throw this.#problem
    const { failure, memory } = this.#instance
    const canary = memory.view(CANARY.from, CANARY.to - CANARY.from)!
    assert.ok(canary.equals(CANARY_BYTES), `memory was written that no call has named: ${this.#describe()}`)
    if (failure === undefined) return
    this.#ended = true
    if (!this.#mayFail(failure.cause as Error)) throw new Error(`it failed: ${this.#describe()}`, { cause: failure })
  }

  #mayFail(cause: Error): boolean {
    if (cause instanceof ProcessExit) return true
    if (this.#aborts && cause.message.startsWith('abort')) return true
    return this.#instance.failedIn === 'the allocator' && cause.message === 'unreachable'
  }

  /** Ends everything, and looks for what is left. */
  async #close(passTime: (milliseconds: number) => void): Promise<void> {
    const instance = this.#instance
    if (instance.failure !== undefined) {
      this.#left = 20
      this.#outside()
    }
    this.#left = 0
    this.#current = []
    for (const { context } of this.#open) context.end(false)
    const closed = Promise.all(this.#filters.map((filter) => filter.close()))
    // Contexts that have not said that they are done have five seconds.
    for (let i = 0; i < 3; i++) {
      await turn()
      passTime(6000)
    }
    await closed
    assert.equal(this.#problem, undefined)
    assert.deepEqual([instance.contexts.size, instance.calls.size], [0, 0], 'contexts or calls are left')
    assert.equal(this.#httpCalls.outstanding.length, 0)
    assert.ok(this.#grpcCalls.exchanges.every(({ state }) => state !== 'open'))
  }

  #bytes(): Buffer {
    return Buffer.alloc(this.#random.below(this.#random.percent(10) ? 200_000 : 100), 'bytes')
  }

  #describe(): string {
    return this.#current.map(({ name, args }) => `${name}(${args.join(', ')})`).join(', and meanwhile ')
  }
}

const SHAPES = IMPORTS.filter(({ name }) => name === IMPORTS[0]!.name).length

/** Runs what makes one instance of WebAssembly, and answers the exports of that as well. */
function withExports<Result>(make: () => Result): [Result, Record<string, unknown>] {
  const { WebAssembly: wasm } = globalThis as unknown as {
    WebAssembly: { Instance: new (...args: unknown[]) => { exports: Record<string, unknown> } }
  }
  const { Instance } = wasm
  let exports: Record<string, unknown> = {}
  wasm.Instance = class extends Instance {
    constructor(...args: unknown[]) {
      super(...args)
      if ('step' in this.exports) exports = this.exports
    }
  }
  try {
    return [make(), exports]
  } finally {
    wasm.Instance = Instance
  }
}
