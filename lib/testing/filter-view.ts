import type { MemoryQueues, MemorySharedData } from '../host/index.ts'
import type { Chain, ExchangeInput } from './chain.ts'
import type { Exchange } from './exchange.ts'
import type { RecordedGrpcCall } from './grpc-upstreams.ts'
import type { RecordedHttpCall } from './http-upstreams.ts'
import type { LogLine } from './log-lines.ts'
import { type Bytes, bytesOf } from './message.ts'
import { type MetricValue, QueuesView, SharedDataView, valuesOf } from './stores.ts'

/** @internal Where a filter's state is. */
export interface FilterStores {
  readonly name: string
  readonly vmId: string
  readonly sharedData: MemorySharedData
  readonly queues: MemoryQueues
}

/** One filter, and what a test sees of it. */
export class FilterView {
  /** As it was declared */
  readonly name: string
  /** The shared data of its `vm_id` */
  readonly sharedData: SharedDataView
  /** The queues of its `vm_id` */
  readonly queues: QueuesView
  /** @internal */
  protected readonly chain: Chain
  readonly #vmId: string

  /** @internal */
  constructor(chain: Chain, { name, vmId, sharedData, queues }: FilterStores) {
    this.chain = chain
    this.name = name
    this.#vmId = vmId
    this.sharedData = new SharedDataView(sharedData, vmId)
    this.queues = new QueuesView(queues, vmId, () => chain.advance(0))
  }

  /** What it has logged, and the host about it. */
  get logs(): readonly LogLine[] {
    return this.chain.logs.filter(({ filter }) => filter === this.name)
  }

  /** Its http calls, in ticks and the like too. */
  get calls(): readonly RecordedHttpCall[] {
    return this.chain.calls.filter(({ filter }) => filter === this.name)
  }

  /** Its gRPC calls and streams. */
  get grpcCalls(): readonly RecordedGrpcCall[] {
    return this.chain.grpcCalls.filter(({ filter }) => filter === this.name)
  }

  /** The metrics of its `vm_id`, by name. */
  get metrics(): Record<string, MetricValue> {
    return valuesOf(this.chain.metricsOf(this.#vmId))
  }

  /**
   * Moves the clock on to its next tick; resolves when the tick, and what it has set off, is done.
   *
   * @throws FST_WASM_TEST_INVALID when it has set none; FST_WASM_TRAP when it fails
   */
  tick(): Promise<void> {
    return this.chain.tick(this.name)
  }

  /**
   * Calls its `proxy_on_foreign_function`.
   *
   * @returns how many plugin contexts were called: none where it has no such callback
   * @throws FST_WASM_TRAP when it fails
   */
  callForeignFunction(functionId: number, parameters: Bytes): Promise<number> {
    return this.chain.callForeignFunction(this.name, functionId, bytesOf(parameters, 'parameters'))
  }
}

/** A filter that runs alone. */
export class LoadedFilter extends FilterView {
  /** As `Chain.exchange` */
  exchange(input?: ExchangeInput): Promise<Exchange> {
    return this.chain.exchange(input)
  }

  /** As `Chain.begin` */
  begin(input?: ExchangeInput): Promise<Exchange> {
    return this.chain.begin(input)
  }

  /** As `Chain.advance` */
  advance(milliseconds: number): Promise<void> {
    return this.chain.advance(milliseconds)
  }

  /** The time that the filter reads. */
  get now(): Date {
    return this.chain.now
  }

  /** As `Chain.close` */
  close(): Promise<void> {
    return this.chain.close()
  }
}
