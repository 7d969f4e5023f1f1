import { type PlannedFilter, planGlobalRules, planRoute } from '../config/plan.ts'
import type { Resources } from '../config/resources.ts'
import type { PluginDeclaration, Timeout } from '../config/schema.ts'
import { Filter, type Plugin } from '../host/index.ts'
import { Upstream } from './upstream/upstream.ts'

const MIB = 1024 * 1024
const DEFAULT_BODY_MIB = 8

/** What the hooks look up for a request: everything about its route is decided here. */
export interface Plan {
  /** All filters, in the order of the response: global rules first, each by priority. */
  readonly filters: readonly Filter[]
  /** Indexes of `filters`: those of the rewrite phase, those of the access phase. */
  readonly rewrite: readonly number[]
  readonly access: readonly number[]
  readonly upstream: Upstream | undefined
  readonly timeout: Timeout | undefined
  /** Whether an access filter could ask for the request's body, which Fastify has parsed by then. */
  readonly watchesBody: boolean
  /** Whether a filter has a callback for the trailers of responses. */
  readonly seesTrailers: boolean
  /** Bytes of a body that may be held for the filters, 0: no limit. */
  readonly bodyLimit: number
}

/** The plans of all routes: made once per route, when it is declared or (if it was declared earlier) first requested. */
export class Plans {
  readonly #resources: Resources
  readonly #plugins: ReadonlyMap<string, Plugin>
  readonly #upstreams: Map<object, Upstream> = new Map()
  readonly #globalFilters: readonly (readonly [PlannedFilter, Filter])[]
  /** For requests of routes without `config.wasm`, and of none. */
  readonly #globalPlan: Plan | undefined
  readonly #filters: Filter[] = []
  /** By `config.wasm` and url: that is what owns plugin contexts, so a GET and its HEAD share them. */
  readonly #routes: WeakMap<object, Map<string, Plan>> = new WeakMap()

  constructor(resources: Resources, plugins: ReadonlyMap<string, Plugin>) {
    this.#resources = resources
    this.#plugins = plugins
    this.#globalFilters = planGlobalRules(resources).map((planned) => [planned, this.#filter(planned)] as const)
    this.#globalPlan = this.#globalFilters.length === 0 ? undefined : this.#plan([], undefined, undefined)
  }

  /**
   * The plan of a route; `undefined` when nothing is to be done on it.
   *
   * @param config the route's own `config`
   * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_PLUGIN_UNKNOWN, FST_WASM_REFERENCE_UNKNOWN
   */
  of(config: { readonly url?: string; readonly wasm?: unknown } | undefined): Plan | undefined {
    const wasm = config?.wasm
    if (wasm === undefined || wasm === null) return this.#globalPlan
    const url = config?.url ?? ''
    const place = url === '' ? 'config.wasm' : `${url}: config.wasm`
    let byUrl = this.#routes.get(wasm as object)
    let plan = byUrl?.get(url)
    if (plan === undefined) {
      const { filters, upstream, timeout } = planRoute(this.#resources, wasm, place)
      plan = this.#plan(
        filters.map((planned) => [planned, this.#filter(planned)] as const),
        upstream && this.#upstream(upstream),
        timeout
      )
      byUrl ??= new Map()
      byUrl.set(url, plan)
      this.#routes.set(wasm as object, byUrl)
    }
    return plan
  }

  /** An upstream of the configuration by its id, for http calls. */
  upstream(id: string): Upstream | undefined {
    const upstream = this.#resources.upstreams.get(id)
    return upstream && this.#upstream(upstream)
  }

  /** The server starts: so do the filters that are not to wait for their first request. */
  start(): void {
    for (const filter of this.#filters) filter.start()
  }

  /** Ends all plugin contexts. */
  async close(): Promise<void> {
    await Promise.all(this.#filters.map((filter) => filter.close()))
  }

  #plan(
    own: readonly (readonly [PlannedFilter, Filter])[],
    upstream: Upstream | undefined,
    timeout: Timeout | undefined
  ): Plan {
    const all = [...this.#globalFilters, ...own]
    const indexes = (phase: PlannedFilter['phase']) =>
      all.flatMap(([planned], i) => (planned.phase === phase ? [i] : []))
    const limits = all.map(([planned]) => bodyLimit(this.#resources.plugins.get(planned.plugin)!))
    return {
      filters: all.map(([, filter]) => filter),
      rewrite: indexes('rewrite'),
      access: indexes('access'),
      upstream,
      timeout,
      watchesBody: all.some(([planned, { plugin }]) => planned.phase === 'access' && plugin.module.readsRequestBody),
      seesTrailers: all.some(([, { plugin }]) => plugin.module.seesResponseTrailers),
      // One copy serves all filters of the exchange.
      bodyLimit: limits.includes(0) ? 0 : Math.max(0, ...limits)
    }
  }

  #filter(planned: PlannedFilter): Filter {
    const filter = new Filter(this.#plugins.get(planned.plugin)!, planned.configuration)
    this.#filters.push(filter)
    return filter
  }

  /** One object per configured upstream: the turn of its nodes goes on over all routes that use it. */
  #upstream(config: ConstructorParameters<typeof Upstream>[0]): Upstream {
    let upstream = this.#upstreams.get(config)
    if (upstream === undefined) {
      upstream = new Upstream(config)
      this.#upstreams.set(config, upstream)
    }
    return upstream
  }
}

function bodyLimit(plugin: PluginDeclaration): number {
  return Math.ceil((plugin.limits?.body_mib ?? DEFAULT_BODY_MIB) * MIB)
}
