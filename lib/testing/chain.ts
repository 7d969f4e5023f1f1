import { validate } from '../config/validate.ts'
import { FST_WASM_TEST_INVALID, type WasmError } from '../errors.ts'
import { Plan } from '../gateway/plan.ts'
import {
  type CallbackMessage,
  Filter,
  MemoryQueues,
  MemorySharedData,
  Metrics,
  type Observer,
  Plugin,
  type PropertyValue
} from '../host/index.ts'
import { now, setImmediate, setTimeout } from '../real-time.ts'
import { nanoseconds, TestClock } from './clock.ts'
import { Exchange } from './exchange.ts'
import { TestRun } from './exchange-run.ts'
import { FilterView } from './filter-view.ts'
import type { RecordedGrpcCall } from './grpc-upstreams.ts'
import type { RecordedHttpCall } from './http-upstreams.ts'
import { LineLog, type LogLine, withLines } from './log-lines.ts'
import { propertyOf, type RequestInput, type ResponseInput, type SeenRequest } from './message.ts'
import { ExchangeInput as ExchangeSchema } from './schema.ts'
import { type MetricValue, valuesOf } from './stores.ts'
import { TestStream } from './test-stream.ts'
import type { CallRecorder } from './upstreams.ts'

/** What an exchange begins with. */
export interface ExchangeInput {
  readonly request?: RequestInput
  /** By default 200 without a body. A function stands for an upstream that decides by what it is sent, or takes its time. */
  readonly response?: ResponseInput | ((request: SeenRequest) => ResponseInput | Promise<ResponseInput>)
  /** What filters read as properties, by path with dots: `source.address`. Those of the request and response are there. */
  readonly properties?: Readonly<Record<string, PropertyValue>>
}

/** @internal A filter of the chain, as it was declared. */
export interface Member {
  readonly name: string
  readonly vmId: string
  readonly placed: ConstructorParameters<typeof Plan>[0][number]
}

const NOWHERE = { upstream: undefined, timeout: undefined, websocket: false, forwarded: false, missing: undefined }

/** So long, in milliseconds of real time, a fake may do nothing. */
const PATIENCE = 2000
const PAUSE = 5
/** A filter that tells itself of something over and over is let go on after so many rounds. */
const MAX_ROUNDS = 1000
/** A filter that calls again whenever it is answered, without end, has made so many calls for an exchange. */
const MAX_CALLS = 1000

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
const pause = () => new Promise<void>((resolve) => setTimeout(resolve, PAUSE))

/** Filters that run one after the other, and what a test sees of them and decides. */
export class Chain {
  readonly #clock: TestClock
  readonly #logs: LogLine[] = []
  readonly #log: LineLog = new LineLog(this.#logs)
  readonly #calls: RecordedHttpCall[] = []
  readonly #grpcCalls: RecordedGrpcCall[] = []
  readonly #sharedData: MemorySharedData = new MemorySharedData()
  readonly #queues: MemoryQueues = new MemoryQueues()
  readonly #metrics: Map<string, Metrics> = new Map()
  readonly #views: Map<string, FilterView> = new Map()
  #members: readonly Member[] = []
  #plan: Plan = new Plan([], NOWHERE, '')
  /** By the requests of their streams */
  readonly #runs: WeakMap<object, TestRun> = new WeakMap()
  readonly #open: Set<TestRun> = new Set()
  /** What fakes have under way. */
  readonly #pending: Set<{ readonly filter: string; readonly what: string; readonly run: TestRun | undefined }> =
    new Set()
  readonly #failures: unknown[] = []
  #activity = 0
  #activeAt = now()
  #exchanges = 0
  #closed = false

  /** @internal */
  constructor(now: number) {
    this.#clock = new TestClock(now)
  }

  /** @internal What the filters share. */
  get shared(): {
    readonly clock: TestClock
    readonly log: LineLog
    readonly sharedData: MemorySharedData
    readonly queues: MemoryQueues
    readonly observer: Observer
  } {
    const observer: Observer = { callbackEnds: (message) => this.#called(message) }
    return { clock: this.#clock, log: this.#log, sharedData: this.#sharedData, queues: this.#queues, observer }
  }

  /** @internal Of one `vm_id`. */
  metricsOf(vmId: string): Metrics {
    let metrics = this.#metrics.get(vmId)
    if (metrics === undefined) {
      metrics = new Metrics()
      this.#metrics.set(vmId, metrics)
    }
    return metrics
  }

  /** @internal Where the calls of a filter are noted. */
  recorder(filter: string): CallRecorder {
    const stream = () => {
      const plugin = this.#member(filter).placed.filter.plugin
      return plugin.isRunning ? plugin.instance().activeHttpContext?.stream : undefined
    }
    const log = () => stream()?.log ?? this.#log
    return {
      filter,
      clock: this.#clock,
      log,
      calls: this.#calls,
      grpcCalls: this.#grpcCalls,
      exchange: () => this.#runs.get(stream()?.request ?? {}),
      begin: (what) => this.working(filter, what, this.#runs.get(stream()?.request ?? {})),
      fail: (error) => {
        this.#failures.push(error)
        this.active()
      },
      warn: (message) => log().warn({ plugin: filter }, message)
    }
  }

  /**
   * @internal Starts the filters.
   *
   * @throws FST_WASM_START_FAILED, FST_WASM_TRAP, FST_WASM_CONFIGURE_FAILED
   */
  async start(members: readonly Member[]): Promise<void> {
    this.#members = members
    for (const { name, vmId } of members) {
      const data = { name, vmId, sharedData: this.#sharedData, queues: this.#queues }
      this.#views.set(name, new FilterView(this, data))
    }
    this.#renew(() => false)
    await this.settle()
    this.#throwTraps(0)
  }

  /** All that was logged, of all filters. */
  get logs(): readonly LogLine[] {
    return this.#logs
  }

  /** All http calls, of all filters: those that belong to no exchange too. */
  get calls(): readonly RecordedHttpCall[] {
    return this.#calls
  }

  /** All gRPC calls and streams, of all filters. */
  get grpcCalls(): readonly RecordedGrpcCall[] {
    return this.#grpcCalls
  }

  /** The metrics of all filters, by name. */
  get metrics(): Record<string, MetricValue> {
    return Object.assign({}, ...[...this.#metrics.values()].map(valuesOf))
  }

  /** The time that the filters read. */
  get now(): Date {
    return new Date(this.milliseconds)
  }

  /** @internal Since the epoch. */
  get milliseconds(): number {
    return Number(this.#clock.wall() / 1_000_000n)
  }

  /**
   * One of the filters.
   *
   * @throws FST_WASM_TEST_INVALID when there is none of that name
   */
  filter(name: string): FilterView {
    const view = this.#views.get(name)
    if (view === undefined) {
      throw new FST_WASM_TEST_INVALID(`there is no filter [${name}]; there are: ${[...this.#views.keys()].join(', ')}`)
    }
    return view
  }

  /**
   * Runs a request and its response through the filters.
   *
   * @throws FST_WASM_EXCHANGE_STALLED when a filter holds it and nothing is under way that could resume it, or a fake has not
   *   answered for two seconds; FST_WASM_TRAP when a filter has failed; what a fake has thrown
   */
  async exchange(input: ExchangeInput = {}): Promise<Exchange> {
    return this.#begin(input).finish()
  }

  /** Begins an exchange; resolves when it is over, or waits for something: `waitsFor` says for what. */
  async begin(input: ExchangeInput = {}): Promise<Exchange> {
    const exchange = this.#begin(input)
    await this.settle()
    return exchange
  }

  /**
   * Moves the clock on: ticks, and timeouts of calls, that are due until then come, one after the other.
   *
   * @throws FST_WASM_TRAP when a filter has failed; what a fake has thrown; FST_WASM_TEST_INVALID for what is no time
   */
  async advance(milliseconds: number): Promise<void> {
    this.#checkOpen()
    if (!(milliseconds >= 0 && milliseconds < Number.POSITIVE_INFINITY)) {
      throw new FST_WASM_TEST_INVALID(`advance() wants milliseconds, 0 or more, and not ${milliseconds}`)
    }
    const end = this.#clock.wall() + nanoseconds(milliseconds)
    const logged = this.#logs.length
    await this.settle()
    while (this.#clock.step(end)) await this.settle()
    this.#throwTraps(logged)
  }

  /** @internal Moves on to the next tick of a filter. */
  async tick(name: string): Promise<void> {
    this.#checkOpen()
    this.#renew((plugin) => plugin.isRunning)
    const due = this.#member(name).placed.filter.context()?.nextTick
    if (due === undefined) {
      throw new FST_WASM_TEST_INVALID(
        `the filter [${name}] has no tick: it has not called set_tick_period_milliseconds`
      )
    }
    await this.advance(this.#clock.until(due))
  }

  /** @internal Calls `proxy_on_foreign_function` of a filter. */
  async callForeignFunction(name: string, functionId: number, parameters: Buffer): Promise<number> {
    this.#checkOpen()
    this.#renew((plugin) => plugin.isRunning)
    const logged = this.#logs.length
    const called = this.#member(name).placed.filter.plugin.callForeignFunction(functionId, parameters)
    await this.settle()
    this.#throwTraps(logged)
    return called
  }

  /** @internal Resolves when what the filters have set off has been done, as far as it waits for nothing. */
  async settle(): Promise<void> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const before = this.#activity
      for (let i = 0; i < 3; i++) await turn()
      if (this.#activity === before) return
    }
  }

  /**
   * Ends the filters: exchanges that are not over are aborted, then `proxy_on_done` and `proxy_on_delete` of the plugin
   * contexts.
   *
   * @throws FST_WASM_TRAP when one fails at that; what a fake has thrown
   */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const logged = this.#logs.length
    for (const run of this.#open) run.abort()
    let isDone = false
    const done = Promise.all(this.#plan.filters.map((filter) => filter.close())).then(() => {
      isDone = true
    })
    await this.settle()
    // One that answers false to `proxy_on_done` has some time left, of this clock.
    while (!isDone && this.#clock.step(this.#clock.wall() + nanoseconds(60_000))) await this.settle()
    await done
    this.#throwTraps(logged)
  }

  /** @internal A fake is at work, for a filter or (`''`) for the exchange itself. */
  working(filter: string, what: string, run: TestRun | undefined): () => void {
    const work = { filter, what, run }
    this.#pending.add(work)
    this.active()
    return () => {
      this.#pending.delete(work)
      this.active()
    }
  }

  /** @internal What fakes have under way for a filter, on behalf of an exchange or of none. */
  atWork(filter: string, run: TestRun): string[] {
    const works = [...this.#pending].filter((work) => work.filter === filter && (work.run ?? run) === run)
    return works.map(({ what }) => what)
  }

  /** @internal Something has happened. */
  active(): void {
    this.#activity++
    this.#activeAt = now()
  }

  /** @internal Resolves with whether it waits for what does not come. */
  async untilOver(isOver: () => boolean): Promise<boolean> {
    this.#activeAt = now()
    const before = this.#callCount
    for (;;) {
      if (!isOver()) await this.settle()
      if (isOver() || this.#failures.length > 0) return false
      if (this.#callCount - before > MAX_CALLS * Math.max(1, this.#open.size)) return true
      if (this.#pending.size === 0 || now() - this.#activeAt > PATIENCE) return true
      await pause()
    }
  }

  /** How many calls there were. */
  get #callCount(): number {
    return this.#calls.length + this.#grpcCalls.length
  }

  /** @internal What a fake has thrown, once. */
  throwFailure(): void {
    if (this.#failures.length > 0) throw this.#failures.shift()
  }

  /** @internal The last error that the host has logged about a filter. */
  lastError(name: string): Error | undefined {
    return this.#logs.findLast((line) => line.filter === name && line.error !== undefined)?.error
  }

  #begin(input: ExchangeInput): Exchange {
    this.#checkOpen()
    validate(ExchangeSchema, input, '')
    const { request = {}, response = {}, properties = {} } = input
    this.#renew((plugin) => plugin.isRunning)
    const logs: LogLine[] = []
    const given = new Map(
      Object.entries(properties).map(([path, value]) => [path.replaceAll('.', '\0'), propertyOf(path, value)])
    )
    const id = String(++this.#exchanges)
    const log = new LineLog(logs, this.#logs)
    const stream = new TestStream(this.#plan, request, given, id, this.milliseconds, log)
    const name = `${request.method ?? 'GET'} ${request.path ?? '/'}`
    const run: TestRun = new TestRun(this, name, stream, logs, response, () => exchange.request)
    const exchange = new Exchange(run)
    this.#runs.set(stream.request, run)
    this.#open.add(run)
    run.start().finally(() => this.#open.delete(run))
    return exchange
  }

  /** Puts others in the place of filters that have failed, with nothing to wait for: a test is not to be slowed down. */
  #renew(isAlive: (plugin: Plugin) => boolean): void {
    const logged = this.#logs.length
    if (this.#members.every(({ placed }) => isAlive(placed.filter.plugin))) return
    this.#members = this.#members.map((member) => {
      const { placed } = member
      const { plugin, configuration } = placed.filter
      if (isAlive(plugin)) return member
      const fresh = new Plugin(plugin.module, plugin.settings)
      fresh.failsOpen = plugin.failsOpen
      const filter = new Filter(fresh, configuration)
      return { ...member, placed: { ...placed, filter } }
    })
    this.#plan = new Plan(
      this.#members.map(({ placed }) => placed),
      NOWHERE,
      'test'
    )
    for (const { name, placed } of this.#members) {
      if (placed.filter.context() !== undefined) continue
      // The first: one that has refused its configuration may trap at its end.
      const lines = this.#logs.slice(logged)
      const error = lines.find((line) => line.filter === name && line.error !== undefined)?.error
      throw withLines(error ?? this.lastError(name)!, lines, name)
    }
  }

  #member(name: string): Member {
    return this.#members.find((member) => member.name === name)!
  }

  #called(message: CallbackMessage): void {
    this.active()
    this.#runs.get(message.request ?? {})?.called(message)
  }

  #checkOpen(): void {
    if (this.#closed) throw new FST_WASM_TEST_INVALID('the filter is closed already')
  }

  /** @param from the lines that were logged before do not count */
  #throwTraps(from: number): void {
    this.throwFailure()
    const trap = this.#logs.slice(from).find(({ error }) => (error as WasmError | undefined)?.code === 'FST_WASM_TRAP')
    if (trap !== undefined) throw withLines(trap.error!, this.#logs.slice(from), trap.filter)
  }
}
