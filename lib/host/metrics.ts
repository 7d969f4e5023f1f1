/** Metric types of the ABI. */
export const MetricType = { Counter: 0, Gauge: 1, Histogram: 2 } as const
export type MetricType = (typeof MetricType)[keyof typeof MetricType]

/** A metric that a filter has defined. */
export interface Metric {
  readonly type: MetricType
  readonly name: string
  readonly vmId: string
  /** The plugin that has defined it first: others of the same `vm_id` may share it */
  readonly plugin: string
  /** The value of a counter or gauge, as 64 bits; the sum of a histogram's observations. */
  value: bigint
  /** How many observations a histogram has. */
  count: bigint
}

/** What the metrics of one `vm_id` may take. */
export interface MetricLimits {
  readonly metrics: number
  /** Of their names, in UTF-8 */
  readonly bytes: number
}

export const METRIC_LIMITS: MetricLimits = { metrics: 16_384, bytes: 8 * 1024 * 1024 }

/** Stands above the type in the ids of metrics that keep nothing. */
const FORGETFUL = 0x3fffffff

/**
 * The metrics that filters define, by `vm_id`, type and name: whoever defines one again gets the same. They outlive the
 * instances that use them.
 */
export class Metrics {
  readonly #limits: MetricLimits
  readonly #metrics: Metric[] = []
  readonly #ids: Map<string, number> = new Map()
  /** By `vm_id` */
  readonly #usage: Map<string, MetricLimits> = new Map()
  #isForgetful = false
  /** Is told of every metric that is new. */
  onDefine: (metric: Metric) => void = () => {}

  constructor(limits: Partial<MetricLimits> = {}) {
    this.#limits = { ...METRIC_LIMITS, ...limits }
  }

  /**
   * @param plugin that defines it
   * @returns an id that is never 0; its two lowest bits are the type, as Envoy's. `undefined` when there is no room for
   *   another metric
   */
  define(vmId: string, type: MetricType, name: string, plugin: string = ''): number | undefined {
    const key = `${type} ${vmId.length} ${vmId}${name}`
    let id = this.#ids.get(key)
    if (id === undefined) {
      const usage = this.usage(vmId)
      const bytes = usage.bytes + Buffer.byteLength(name)
      if (usage.metrics >= this.#limits.metrics || bytes > this.#limits.bytes) return undefined
      this.#usage.set(vmId, { metrics: usage.metrics + 1, bytes })
      const metric: Metric = { type, name, vmId, plugin, value: 0n, count: 0n }
      this.#metrics.push(metric)
      id = this.#metrics.length * 4 + type
      this.#ids.set(key, id)
      this.onDefine(metric)
    }
    return id
  }

  /** The id of a metric that takes everything and keeps nothing. */
  forgetful(type: MetricType): number {
    this.#isForgetful = true
    return FORGETFUL * 4 + type
  }

  /** A metric that the `vm_id` has defined. */
  get(vmId: string, id: number): Metric | undefined {
    const type = id & 3
    if (this.#isForgetful && id >>> 2 === FORGETFUL && type <= MetricType.Histogram) {
      return { type: type as MetricType, name: '', vmId, plugin: '', value: 0n, count: 0n }
    }
    const metric = this.#metrics[(id >>> 2) - 1]
    return metric?.type === type && metric.vmId === vmId ? metric : undefined
  }

  /** What a `vm_id` has taken of what it may take. */
  usage(vmId: string): MetricLimits {
    return this.#usage.get(vmId) ?? { metrics: 0, bytes: 0 }
  }

  all(): readonly Metric[] {
    return this.#metrics
  }
}
