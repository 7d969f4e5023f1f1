import type { Metric, MetricObjectWithValues, MetricValue, Registry } from 'prom-client'

/** One value of a metric. */
export interface Sample {
  readonly value: number
  readonly labels: Record<string, string | number>
  /** Where it is not the metric's own: `…_bucket`, `…_sum`, `…_count` */
  readonly metricName?: string
}

export type MetricKind = 'counter' | 'gauge' | 'histogram' | 'summary'

/** A metric whose values are counted elsewhere, and read when somebody asks for them: what a registry of prom-client takes. */
export class CollectedMetric {
  readonly name: string
  readonly help: string
  readonly type: MetricKind
  readonly #collect: () => Iterable<Sample>

  constructor(name: string, help: string, type: MetricKind, collect: () => Iterable<Sample>) {
    this.name = name
    this.help = help
    this.type = type
    this.#collect = collect
  }

  addTo(registry: Registry): void {
    registry.registerMetric(this as unknown as Metric)
  }

  async get(): Promise<MetricObjectWithValues<MetricValue<string>>> {
    const { name, help, type } = this
    return { name, help, type, aggregator: 'sum', values: [...this.#collect()] } as never
  }

  /** `Registry.resetMetrics`: what is counted elsewhere stays what it is. */
  reset(): void {}
}
