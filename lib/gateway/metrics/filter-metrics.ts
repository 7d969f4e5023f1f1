import type { Registry } from 'prom-client'
import { type Metric, MetricType } from '../../host/index.ts'
import { CollectedMetric, type MetricKind, type Sample } from './collected-metric.ts'

/** As Envoy's. */
const PREFIX = 'wasmcustom_'
/** What a name of Prometheus may not have in it. */
const REFUSED = /[^a-zA-Z0-9_:]/g
/** A histogram of the ABI has a count and a sum, and no buckets: for Prometheus that is a summary. */
const KINDS: Readonly<Record<MetricType, MetricKind>> = {
  [MetricType.Counter]: 'counter',
  [MetricType.Gauge]: 'gauge',
  [MetricType.Histogram]: 'summary'
}
const NAMES: Readonly<Record<MetricType, string>> = {
  [MetricType.Counter]: 'counter',
  [MetricType.Gauge]: 'gauge',
  [MetricType.Histogram]: 'histogram'
}

interface Family {
  readonly type: MetricType
  readonly metrics: Metric[]
}

/**
 * The metrics that filters define, each as it is defined: `wasmcustom_<name>`, with `_` for what Prometheus refuses in a name.
 * Two that are the same then are told apart by the label `metric`, which has the name as the filter wrote it, and is there where it
 * was changed. One whose name is taken by a metric of another type has its type behind its name.
 */
export class FilterMetrics {
  readonly #registry: Registry
  readonly #families: Map<string, Family> = new Map()
  /** What the samples of a family are called: no other family may be. */
  readonly #taken: Set<string> = new Set()

  constructor(registry: Registry) {
    this.#registry = registry
  }

  add(metric: Metric): void {
    const { type } = metric
    let name = PREFIX + metric.name.replace(REFUSED, '_')
    for (;;) {
      const family = this.#families.get(name)
      if (family?.type === type) {
        family.metrics.push(metric)
        return
      }
      if (family === undefined && !samplesOf(name, type).some((sample) => this.#taken.has(sample))) break
      name += `_${NAMES[type]}`
    }
    const family = { type, metrics: [metric] }
    this.#families.set(name, family)
    for (const sample of samplesOf(name, type)) this.#taken.add(sample)
    const help = `A ${NAMES[type]} of a filter`
    new CollectedMetric(name, help, KINDS[type], () => collect(name, family)).addTo(this.#registry)
  }
}

function samplesOf(name: string, type: MetricType): string[] {
  return type === MetricType.Histogram ? [name, `${name}_sum`, `${name}_count`] : [name]
}

function* collect(family: string, { type, metrics }: Family): Iterable<Sample> {
  for (const { name, plugin, vmId, value, count } of metrics) {
    const labels = { plugin, vm_id: vmId, ...(PREFIX + name !== family && { metric: name }) }
    if (type === MetricType.Histogram) {
      yield { metricName: `${family}_sum`, labels, value: Number(value) }
      yield { metricName: `${family}_count`, labels, value: Number(count) }
    } else {
      yield { labels, value: Number(type === MetricType.Gauge ? BigInt.asIntN(64, value) : value) }
    }
  }
}
