/** Metric types of the ABI. */
export const MetricType = { Counter: 0, Gauge: 1, Histogram: 2 } as const
export type MetricType = (typeof MetricType)[keyof typeof MetricType]

/** A metric that a filter has defined. */
export interface Metric {
  readonly type: MetricType
  readonly name: string
  /** The value of a counter or gauge, as 64 bits; the sum of a histogram's observations. */
  value: bigint
  /** How many observations a histogram has. */
  count: bigint
}

/**
 * The metrics that filters define, by `vm_id`, type and name: whoever defines one again gets the same. They outlive the
 * instances that use them.
 */
export class Metrics {
  readonly #metrics: Metric[] = []
  readonly #ids: Map<string, number> = new Map()

  /** @returns an id that is never 0; its two lowest bits are the type, as Envoy's */
  define(vmId: string, type: MetricType, name: string): number {
    const key = `${type} ${vmId.length} ${vmId}${name}`
    let id = this.#ids.get(key)
    if (id === undefined) {
      this.#metrics.push({ type, name, value: 0n, count: 0n })
      id = this.#metrics.length * 4 + type
      this.#ids.set(key, id)
    }
    return id
  }

  get(id: number): Metric | undefined {
    const metric = this.#metrics[(id >>> 2) - 1]
    return metric?.type === (id & 3) ? metric : undefined
  }

  all(): readonly Metric[] {
    return this.#metrics
  }
}
