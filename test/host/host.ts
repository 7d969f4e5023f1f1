import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type AllowedFunctions,
  DEFAULT_LIMITS,
  DEFAULT_MODULE_LIMITS,
  Filter,
  type ForeignFunction,
  foreignFunctionsWith,
  type HttpContext,
  type InstanceLimits,
  loadModule,
  MemoryQueues,
  MemorySharedData,
  Metrics,
  type ModuleLimits,
  Plugin,
  type PluginSettings
} from '../../lib/host/index.ts'
import { FakeGrpcCalls } from './fake-grpc-calls.ts'
import { FakeHttpCalls } from './fake-http-calls.ts'
import { FakeStream } from './fake-stream.ts'
import { type Call, Guest, type Operand, UNTOUCHED } from './guest.ts'
import { RecordingLogger } from './recording-logger.ts'

export interface HostOptions {
  semantics?: 'apisix' | 'envoy'
  configuration?: string
  vmConfiguration?: string
  rootId?: string
  environment?: Record<string, string>
  vmId?: string
  /** What hosts share; by default each has its own. */
  stores?: Stores
  foreignFunctions?: Record<string, ForeignFunction>
  limits?: Partial<InstanceLimits & ModuleLimits>
  allow?: AllowedFunctions
}

export type Stores = Pick<PluginSettings, 'sharedData' | 'queues' | 'metrics'>

export function memoryStores(): Stores {
  return { sharedData: new MemorySharedData(), queues: new MemoryQueues(), metrics: new Metrics() }
}

/** Loads a module as a plugin with one filter. Nothing is started before the first exchange. */
export async function startHost(guest: Guest | Uint8Array, options: HostOptions = {}): Promise<Host> {
  const bytes = guest instanceof Guest ? await guest.module() : guest
  const log = new RecordingLogger()
  const httpCalls = new FakeHttpCalls()
  const settings: PluginSettings = {
    name: 'test',
    semantics: options.semantics ?? 'apisix',
    vmId: options.vmId ?? '',
    rootId: options.rootId ?? '',
    vmConfiguration: Buffer.from(options.vmConfiguration ?? ''),
    environment: options.environment ?? {},
    log,
    httpCalls,
    grpcCalls: new FakeGrpcCalls(),
    ...(options.stores ?? memoryStores()),
    foreignFunctions: foreignFunctionsWith(Object.entries(options.foreignFunctions ?? {})),
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    allow: options.allow
  }
  const module = await loadModule('test', bytes, { ...DEFAULT_MODULE_LIMITS, ...options.limits })
  const plugin = new Plugin(module, settings)
  return new Host(guest instanceof Guest ? guest : undefined, plugin, options.configuration ?? '', log, httpCalls)
}

/** A plugin with one filter, and what its guest has kept in memory. */
export class Host {
  readonly plugin: Plugin
  readonly filter: Filter
  readonly log: RecordingLogger
  readonly httpCalls: FakeHttpCalls
  readonly #guest: Guest | undefined
  #instance: ReturnType<Plugin['instance']> | undefined

  constructor(
    guest: Guest | undefined,
    plugin: Plugin,
    configuration: string,
    log: RecordingLogger,
    httpCalls: FakeHttpCalls
  ) {
    this.#guest = guest
    this.plugin = plugin
    this.filter = new Filter(plugin, Buffer.from(configuration))
    this.log = log
    this.httpCalls = httpCalls
  }

  get grpcCalls(): FakeGrpcCalls {
    return this.plugin.settings.grpcCalls as FakeGrpcCalls
  }

  /** The first instance, also after it has failed. */
  get instance(): ReturnType<Plugin['instance']> {
    this.#instance ??= this.plugin.instance()
    return this.#instance
  }

  /** Reads from the instance that is in use now. */
  renew(): void {
    this.#instance = this.plugin.instance()
  }

  /** Opens an HTTP context, which must succeed. */
  open(stream: FakeStream = new FakeStream(), filter: Filter = this.filter): HttpContext {
    this.#instance ??= this.plugin.instance()
    const context = filter.open(stream)
    assert.ok(context, 'the filter starts')
    stream.contexts.push(context)
    return context
  }

  /** Another filter of the same plugin. */
  another(configuration: string): Filter {
    return new Filter(this.plugin, Buffer.from(configuration))
  }

  /** What a call answered the last time; `undefined` when it was not made. */
  status(call: Call): number | undefined {
    const status = this.u32(call.status)
    return status === UNTOUCHED ? undefined : status
  }

  statuses(...calls: Call[]): (number | undefined)[] {
    return calls.map((call) => this.status(call))
  }

  /** The pointer and size that a call has written. */
  cells(call: Call): [number, number] {
    return [this.u32(call.result!), this.u32(call.result! + 4)]
  }

  /** The bytes that a call has handed to the guest; `undefined` when it wrote no cells. */
  bytes(call: Call): Buffer | undefined {
    const [pointer, size] = this.cells(call)
    return pointer === UNTOUCHED || size === UNTOUCHED ? undefined : this.instance.memory.copy(pointer, size)
  }

  /** The same bytes as latin1 text. */
  text(call: Call): string | undefined {
    return this.bytes(call)?.toString('latin1')
  }

  u32(at: number | Operand): number {
    return this.instance.memory.u32(typeof at === 'number' ? at : at.at)
  }

  u64(at: Operand): bigint {
    return this.instance.memory.u64(at.at)
  }

  /** Which exports were called, and the marks, without the allocations. */
  events(): string[] {
    return this.#guest!.events((at) => this.u32(at)).filter((event) => !ALLOCATION.test(event))
  }

  allocations(): string[] {
    return this.#guest!.events((at) => this.u32(at)).filter((event) => ALLOCATION.test(event))
  }
}

const ALLOCATION = /^(memory_allocate|malloc)\(/

/** A module in fixtures/. */
export function readFixture(folder: string, name: string = folder): Uint8Array {
  return readFileSync(join(import.meta.dirname, '..', '..', 'fixtures', folder, `${name}.wasm`))
}

/** Whether a phase still waits after everything that was due has run. */
export async function waits(phase: unknown): Promise<boolean> {
  if (!(phase instanceof Promise)) return false
  const pending = Symbol('pending')
  return (await Promise.race([phase, new Promise((resolve) => setImmediate(resolve, pending))])) === pending
}
