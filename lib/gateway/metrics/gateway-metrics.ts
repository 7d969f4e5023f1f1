import { Registry } from 'prom-client'
import { CALL_TIME_BOUNDS, CallTimes, Metrics, PluginCounts, type PluginStatus } from '../../host/index.ts'
import { CollectedMetric, type Sample } from './collected-metric.ts'
import { FilterMetrics } from './filter-metrics.ts'

const PREFIX = 'wasm_gateway_'

/**
 * What there is to measure, as a registry of prom-client. Nothing is handed over until somebody asks: what happens is
 * counted where it happens, in plain numbers.
 */
export class GatewayMetrics {
  readonly registry: Registry = new Registry()
  /** Those that filters define. */
  readonly ofFilters: Metrics = new Metrics()
  /** By plugin. Those of plugins that are gone stay, as counters must not fall. */
  readonly #counts: Map<string, PluginCounts> = new Map()
  readonly #timed: boolean

  /**
   * @param timed whether calls into filters are timed
   * @param status of the plugins that there are
   */
  constructor(timed: boolean, status: () => PluginStatus[]) {
    this.#timed = timed
    const ofFilters = new FilterMetrics(this.registry)
    this.ofFilters.onDefine = (metric) => ofFilters.add(metric)

    if (timed) {
      const name = `${PREFIX}callback_duration_seconds`
      const help = 'Time in a callback of a filter, by plugin and callback'
      new CollectedMetric(name, help, 'histogram', () => this.#times(name)).addTo(this.registry)
    }
    this.#counter('local_responses_total', 'Responses of filters in place of the upstream', (counts, plugin) =>
      samples(counts.localResponses, (status) => ({ plugin, status: String(status) }))
    )
    this.#counter('traps_total', 'Failures of instances, by the callback that trapped', (counts, plugin) =>
      samples(counts.traps, (callback) => ({ plugin, callback }))
    )
    this.#counter('restarts_total', 'Instances made in place of one that had failed', (counts, plugin) => [
      { labels: { plugin }, value: counts.restarts }
    ])
    this.#counter('calls_total', 'Calls of filters that have ended, by how', (counts, plugin) => [
      ...samples(counts.httpCalls, (result) => ({ plugin, type: 'http', result })),
      ...samples(counts.grpcCalls, (result) => ({ plugin, type: 'grpc', result }))
    ])
    const gauge = (name: string, help: string, measure: (status: PluginStatus) => number) => {
      new CollectedMetric(PREFIX + name, help, 'gauge', () => byPlugin(status(), measure)).addTo(this.registry)
    }
    gauge('running', 'Whether a plugin has an instance', ({ instance }) => (instance === null ? 0 : 1))
    gauge('memory_bytes', 'Linear memory of the instance', ({ instance }) => instance?.memory_bytes ?? 0)
    gauge('plugin_contexts', 'Plugin contexts that are alive', ({ plugin_contexts }) => plugin_contexts)
    gauge('http_contexts', 'HTTP contexts that are alive', ({ http_contexts }) => http_contexts)
    gauge('calls_outstanding', 'Calls of filters that are not answered yet', ({ calls }) => calls)
  }

  /** Where is counted what happens in a plugin. */
  countsOf(plugin: string): PluginCounts {
    let counts = this.#counts.get(plugin)
    if (counts === undefined) {
      counts = new PluginCounts(this.#timed ? new CallTimes() : undefined)
      this.#counts.set(plugin, counts)
    }
    return counts
  }

  #counter(name: string, help: string, samplesOf: (counts: PluginCounts, plugin: string) => Iterable<Sample>): void {
    const counts = this.#counts
    const collect = function* () {
      for (const [plugin, each] of counts) yield* samplesOf(each, plugin)
    }
    new CollectedMetric(PREFIX + name, help, 'counter', collect).addTo(this.registry)
  }

  *#times(name: string): Iterable<Sample> {
    for (const [plugin, { times }] of this.#counts) {
      for (const { callback, counts, seconds } of times?.entries() ?? []) {
        const labels = { plugin, callback }
        let sum = 0
        for (const [i, count] of counts.entries()) {
          sum += count
          const le = CALL_TIME_BOUNDS[i] ?? '+Inf'
          yield { metricName: `${name}_bucket`, labels: { le, ...labels }, value: sum }
        }
        yield { metricName: `${name}_sum`, labels, value: seconds }
        yield { metricName: `${name}_count`, labels, value: sum }
      }
    }
  }
}

function samples<Key>(counts: ReadonlyMap<Key, number>, labelsOf: (key: Key) => Sample['labels']): Sample[] {
  return [...counts].map(([key, value]) => ({ labels: labelsOf(key), value }))
}

/** One that a reload has replaced is there as long as exchanges use it, beside the one of the same name. */
function* byPlugin(status: readonly PluginStatus[], measure: (status: PluginStatus) => number): Iterable<Sample> {
  const values = new Map<string, number>()
  for (const each of status) values.set(each.name, (values.get(each.name) ?? 0) + measure(each))
  for (const [plugin, value] of values) yield { labels: { plugin }, value }
}
