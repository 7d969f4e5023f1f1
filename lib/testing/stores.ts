import { FST_WASM_TEST_INVALID } from '../errors.ts'
import { type MemoryQueues, type MemorySharedData, type Metrics, MetricType } from '../host/index.ts'
import { type Bytes, bytesOf } from './message.ts'

/** A counter or a gauge, or what a histogram has observed: how often, and in sum. */
export type MetricValue = number | { readonly count: number; readonly sum: number }

export function valuesOf(metrics: Metrics): Record<string, MetricValue> {
  return Object.fromEntries(
    metrics.all().map(({ type, name, value, count }) => {
      if (type === MetricType.Histogram) return [name, { count: Number(count), sum: Number(value) }]
      return [name, Number(type === MetricType.Gauge ? BigInt.asIntN(64, value) : value)]
    })
  )
}

/** Keys and names of queues are bytes to filters, and in the stores one character each. */
const stored = (text: string) => Buffer.from(text).toString('latin1')
const shown = (text: string) => Buffer.from(text, 'latin1').toString()

/** The shared data of one `vm_id`. */
export class SharedDataView {
  readonly #data: MemorySharedData
  readonly #vmId: string

  /** @internal */
  constructor(data: MemorySharedData, vmId: string) {
    this.#data = data
    this.#vmId = vmId
  }

  get(key: string): Buffer | undefined {
    const value = this.#data.get(this.#vmId, stored(key))?.value
    return value && Buffer.from(value)
  }

  /** Puts a value there, whatever there was. */
  set(key: string, value: Bytes): void {
    this.#data.set(this.#vmId, stored(key), bytesOf(value, `the value of ${key}`), 0)
  }

  keys(): string[] {
    return this.#data.keys(this.#vmId).map(shown)
  }
}

/** The queues of one `vm_id`. */
export class QueuesView {
  readonly #queues: MemoryQueues
  readonly #vmId: string
  readonly #settle: () => Promise<void>

  /** @internal */
  constructor(queues: MemoryQueues, vmId: string, settle: () => Promise<void>) {
    this.#queues = queues
    this.#vmId = vmId
    this.#settle = settle
  }

  /** What is in a queue, the first first; `undefined` when no filter has registered one of that name. */
  items(name: string): Buffer[] | undefined {
    return this.#queues.items(this.#vmId, stored(name))?.map((item) => Buffer.from(item))
  }

  /**
   * Puts an item into a queue; resolves when the filter that has registered it was told, and what it did is done.
   *
   * @throws FST_WASM_TEST_INVALID when no filter has registered one of that name
   */
  async push(name: string, item: Bytes): Promise<void> {
    const id = this.#queues.resolve(this.#vmId, stored(name))
    if (id === undefined) throw new FST_WASM_TEST_INVALID(`no filter of this vm_id has registered a queue \`${name}\``)
    this.#queues.enqueue(id, bytesOf(item, 'the item'))
    await this.#settle()
  }
}
