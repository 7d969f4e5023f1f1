import type { FastifyRequest } from 'fastify'
import {
  missingReference,
  type PlannedFilter,
  planGlobalRules,
  planRoute,
  type References,
  referencesOf
} from '../config/plan.ts'
import { checkReferences, Problems, type Resources } from '../config/resources.ts'
import { type Route, RouteConfig, type Upstream as UpstreamConfig } from '../config/schema.ts'
import { validate } from '../config/validate.ts'
import { Filter, type Logger, type Plugin } from '../host/index.ts'
import { type Destination, type Placed, Plan } from './plan.ts'
import { normalizePath } from './routes/normalize-path.ts'
import { routeDefinition } from './routes/route-definition.ts'
import { type RouteDefinition, RouteTable } from './routes/route-table.ts'
import { Upstream } from './upstream/upstream.ts'

const NOWHERE: Destination = {
  upstream: undefined,
  timeout: undefined,
  websocket: false,
  forwarded: false,
  missing: undefined
}

/** Who has plugin contexts of its own: a route of the gateway, a route of the application, or the global rules. */
interface Owner {
  /** Where its configuration stands, for errors. */
  readonly place: string
  state: OwnerState
}

/** A route of the gateway. */
interface RouteOwner extends Owner {
  /** When it is tried, of those that are alike. */
  turn: number
}

/** A route of the application. The same `config.wasm` may stand on several, and is that of few: they are a chain. */
interface DeclaredOwner extends Owner {
  readonly url: string
  next: DeclaredOwner | undefined
}

/** All of an owner that changes together with the configuration. */
interface OwnerState {
  readonly config: RouteConfig
  readonly references: References
  readonly placed: readonly Placed[]
  readonly plan: Plan
}

/** What runs on the requests of a route, for who looks at it. */
export interface Chain {
  /** The id of a route of the gateway, the url of one of the application; `undefined`: of all that have no filters of their own */
  readonly route: string | undefined
  /** Of a route that is the gateway's own, what it is for */
  readonly own: Route | undefined
  readonly plan: Plan
  /** How many of its filters are global rules': the first ones */
  readonly globals: number
}

/** What a change of the configuration would make of everything; nothing of it is in effect. */
interface Stage {
  readonly resources: Resources
  readonly plugins: ReadonlyMap<string, Plugin>
  readonly globals: readonly Placed[]
  /** Whether every plan is made anew: the global rules or the plugins are others. */
  readonly all: boolean
  readonly upstreams: Map<UpstreamConfig, Upstream>
}

/**
 * The plans of all routes, and the table of the gateway's own. A change of the configuration is prepared, which may
 * fail, and then takes effect at once: filters whose plugin and configuration are the same stay, with their plugin contexts;
 * those that are gone end when the last exchange that may call them is over.
 */
export class Plans {
  #stage: Stage
  #globalPlan: Plan | undefined
  /** By `config.wasm` and url: that is what owns plugin contexts, so a GET and its HEAD share them. */
  readonly #declared: Map<object, DeclaredOwner | undefined> = new Map()
  /** The gateway's own routes, by id. */
  #routes: Map<string, RouteOwner> = new Map()
  readonly #table: RouteTable<Owner, FastifyRequest> = new RouteTable()
  /** How many plans hold a filter. */
  readonly #holders: Map<Filter, number> = new Map()
  /** Is told whether any plan wants requests for websockets. */
  onWebsockets: (wanted: boolean) => void = () => {}
  /** How many plans do. */
  #websockets = 0
  readonly #log: Logger
  #started = false

  constructor(log: Logger) {
    this.#log = log
    const resources = {
      plugins: new Map(),
      routes: new Map(),
      services: new Map(),
      upstreams: new Map(),
      plugin_configs: new Map(),
      global_rules: new Map()
    }
    this.#stage = { resources, plugins: new Map(), globals: [], all: false, upstreams: new Map() }
  }

  /**
   * The plan of a route of the application; `undefined` when nothing is to be done on it.
   *
   * @param config the route's own `config`
   * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_PLUGIN_UNKNOWN, FST_WASM_REFERENCE_UNKNOWN
   */
  of(config: { readonly url?: string; readonly wasm?: unknown } | undefined): Plan | undefined {
    const wasm = config?.wasm
    if (wasm === undefined || wasm === null) return this.#globalPlan
    const url = config?.url ?? ''
    let owner = this.#declared.get(wasm as object)
    while (owner !== undefined && owner.url !== url) owner = owner.next
    return (owner ?? this.#declare(wasm as object, url)).state.plan
  }

  #declare(wasm: object, url: string): DeclaredOwner {
    const place = url === '' ? 'config.wasm' : `${url}: config.wasm`
    const state = this.#prepare(this.#stage, place, validate(RouteConfig, wasm, place), undefined)
    const owner = { place, state, url, next: this.#declared.get(wasm) }
    this.#declared.set(wasm, owner)
    this.#hold(state.plan)
    return owner
  }

  /** The plan of the gateway's own route that a request matches; that of the global rules when it matches none. */
  match(request: FastifyRequest): Plan | undefined {
    const owner =
      this.#routes.size === 0
        ? undefined
        : this.#table.find(
            { host: request.host ?? '', path: normalizePath(request.raw.url!), method: request.method },
            request
          )
    return owner?.state.plan ?? this.#globalPlan
  }

  /** How many routes the gateway itself has. */
  get size(): number {
    return this.#routes.size
  }

  /** An upstream of the configuration by its id, for http calls. */
  upstream(id: string): Upstream | undefined {
    const config = this.#stage.resources.upstreams.get(id)
    return config && this.#upstreamOf(this.#stage, config)
  }

  get upstreams(): Iterable<Upstream> {
    return this.#stage.upstreams.values()
  }

  /** What runs where: the routes of the application, those of the gateway, and what has neither. */
  *chains(): Iterable<Chain> {
    const { globals, resources } = this.#stage
    const chain = (route: string | undefined, own: Route | undefined, plan: Plan): Chain => ({
      route,
      own,
      plan,
      globals: globals.length
    })
    for (const { url, state } of this.#declaredOwners()) yield chain(url, undefined, state.plan)
    for (const [id, { state }] of this.#routes) yield chain(id, resources.routes.get(id), state.plan)
    if (this.#globalPlan !== undefined) yield chain(undefined, undefined, this.#globalPlan)
  }

  /** The plugins whose filters are held: those of before too, as long as exchanges use them. */
  get plugins(): Set<Plugin> {
    return new Set([...this.#holders.keys()].map(({ plugin }) => plugin))
  }

  /**
   * Prepares a change.
   *
   * @param resources checked, with the same objects in it where nothing has changed. The gateway's own routes may refer
   *   to what is not there; those of the application may not
   * @param turnOf of two of the gateway's routes that match the same with the same priority, the one with the lower turn is
   *   tried first. Of new ones it is asked when the change takes effect
   * @returns what puts it into effect
   * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_REFERENCE_UNKNOWN with everything that is wrong
   */
  prepare(resources: Resources, plugins: ReadonlyMap<string, Plugin>, turnOf: (route: string) => number): () => void {
    const before = this.#stage
    const globals = this.#globals(resources, plugins)
    const all =
      globals !== before.globals ||
      !isSame(before.plugins, plugins) ||
      !isSame(before.resources.plugins, resources.plugins)
    const stage: Stage = { resources, plugins, globals, all, upstreams: new Map(before.upstreams) }
    const problems = new Problems()
    const states = new Map<Owner, OwnerState>()
    const routes = new Map<string, RouteOwner>()
    const definitions = new Map<string, RouteDefinition<Owner, FastifyRequest> | undefined>()
    for (const [id, route] of resources.routes) {
      const known = this.#routes.get(id)
      problems.attempt(() => {
        const state = this.#prepare(stage, `routes.${id}`, route, known?.state, true)
        const owner = known ?? { place: `routes.${id}`, state, turn: 0 }
        routes.set(id, owner)
        if (known?.state !== state) states.set(owner, state)
        else if (known.turn === turnOf(id)) return
        const definition = routeDefinition(route, state.references.service, `routes.${id}`, owner)
        definitions.set(id, route.status === 0 ? undefined : definition)
      })
    }
    const restage = (owner: Owner) => {
      const state = this.#prepare(stage, owner.place, owner.state.config, owner.state)
      if (state !== owner.state) states.set(owner, state)
    }
    for (const owner of this.#declaredOwners()) problems.attempt(() => restage(owner))
    let globalPlan = this.#globalPlan
    if (all) {
      problems.attempt(() => {
        globalPlan = globals.length === 0 ? undefined : new Plan(globals, NOWHERE, 'global_rules')
      })
    }
    problems.throw()
    const planned = new Set(this.#declaredOwners())

    return () => {
      const retired: Plan[] = []
      // Routes of the application that were first requested meanwhile. One that refers to what the change takes away is
      // told so by its next request: the change has been kept already, and cannot fail any more.
      for (const owner of this.#declaredOwners()) {
        if (planned.has(owner)) continue
        try {
          restage(owner)
        } catch {
          this.#forget(owner)
          retired.push(owner.state.plan)
        }
      }
      for (const [id, owner] of this.#routes) {
        if (routes.has(id)) continue
        this.#table.delete(id)
        retired.push(owner.state.plan)
      }
      this.#routes = routes
      for (const [id, definition] of definitions) {
        const owner = routes.get(id)!
        owner.turn = turnOf(id)
        if (definition === undefined) this.#table.delete(id)
        else this.#table.set(id, definition, owner.turn)
      }
      for (const [owner, state] of states) {
        this.#hold(state.plan)
        if (owner.state !== state) retired.push(owner.state.plan)
        owner.state = state
      }
      if (globalPlan !== this.#globalPlan) {
        if (globalPlan !== undefined) this.#hold(globalPlan)
        if (this.#globalPlan !== undefined) retired.push(this.#globalPlan)
        this.#globalPlan = globalPlan
      }
      this.#stage = stage
      for (const plan of retired) plan.retire(() => this.#letGo(plan))
      this.#updateUpstreams()
    }
  }

  /** The server starts: so do the filters that are not to wait for their first request. */
  start(): void {
    this.#started = true
    for (const filter of this.#holders.keys()) filter.start()
    this.#updateUpstreams()
  }

  /** Ends the part of filters in exchanges that wait for them. */
  endWaiting(): void {
    for (const filter of this.#holders.keys()) filter.endWaiting()
  }

  /** Ends all plugin contexts. */
  async close(): Promise<void> {
    await Promise.all([...this.#holders.keys()].map((filter) => filter.close()))
    for (const upstream of this.#stage.upstreams.values()) upstream.close()
  }

  *#declaredOwners(): Iterable<DeclaredOwner> {
    for (const first of this.#declared.values()) {
      for (let owner = first; owner !== undefined; owner = owner.next) yield owner
    }
  }

  #forget(owner: DeclaredOwner): void {
    for (const [wasm, first] of this.#declared) {
      if (first === owner) this.#declared.set(wasm, owner.next)
      for (let before = first; before !== undefined; before = before.next) {
        if (before.next === owner) before.next = owner.next
      }
    }
  }

  /** The filters of the global rules: the list of before when nothing has changed. */
  #globals(resources: Resources, plugins: ReadonlyMap<string, Plugin>): readonly Placed[] {
    const before = this.#stage.globals
    const planned = planGlobalRules(resources)
    const placed = this.#place(resources, plugins, planned, before)
    const same =
      placed.length === before.length &&
      placed.every(({ filter, planned, declaration }, i) => {
        const old = before[i]!
        return filter === old.filter && declaration === old.declaration && planned.meta === old.planned.meta
      })
    return same ? before : placed
  }

  #prepare(
    stage: Stage,
    place: string,
    config: RouteConfig | Route,
    before: OwnerState | undefined,
    forwarded: boolean = false
  ): OwnerState {
    const references = referencesOf(stage.resources, config)
    if (before !== undefined && !stage.all && before.config === config && isSameObject(before.references, references)) {
      return before
    }
    const missing = forwarded ? missingReference(stage.resources, config) : undefined
    if (!forwarded) checkReferences(stage.resources, config, place)
    const { filters, upstream, timeout } = planRoute(stage.resources, config, place)
    // Where some of its filters are gone, with the service or the plugin_config, none of the others runs.
    const complete = missing === undefined || missing.kind === 'upstream'
    const placed = this.#place(stage.resources, stage.plugins, complete ? filters : [], before?.placed ?? [])
    const websocket = config.enable_websocket ?? references.service?.enable_websocket ?? false
    const destination = {
      upstream: upstream && this.#upstreamOf(stage, upstream),
      timeout,
      websocket,
      forwarded,
      missing
    }
    const all = stage.globals.length === 0 ? placed : [...stage.globals, ...placed]
    return { config, references, placed, plan: new Plan(all, destination, place) }
  }

  /** Puts filters in their places: those that stood there before where plugin and configuration are the same. */
  #place(
    resources: Resources,
    plugins: ReadonlyMap<string, Plugin>,
    filters: readonly PlannedFilter[],
    before: readonly Placed[]
  ): Placed[] {
    return filters.map((planned) => {
      const plugin = plugins.get(planned.plugin)!
      const old = before.find(
        ({ filter }) => filter.plugin === plugin && filter.configuration.equals(planned.configuration)
      )
      const filter = old?.filter ?? new Filter(plugin, planned.configuration)
      return { planned, filter, declaration: resources.plugins.get(planned.plugin)! }
    })
  }

  #hold(plan: Plan): void {
    this.#countWebsockets(plan, 1)
    for (const filter of plan.filters) {
      const holders = this.#holders.get(filter) ?? 0
      this.#holders.set(filter, holders + 1)
      if (holders === 0 && this.#started) filter.start()
    }
  }

  #countWebsockets({ websocket }: Plan, change: 1 | -1): void {
    if (!websocket) return
    this.#websockets += change
    this.onWebsockets(this.#websockets > 0)
  }

  #letGo(plan: Plan): void {
    this.#countWebsockets(plan, -1)
    for (const filter of plan.filters) {
      const holders = this.#holders.get(filter)! - 1
      if (holders > 0) {
        this.#holders.set(filter, holders)
        continue
      }
      filter.close().finally(() => this.#holders.delete(filter))
    }
  }

  /** One object per configured upstream: the turn of its nodes goes on over all routes that use it. */
  #upstreamOf({ upstreams }: Stage, config: UpstreamConfig): Upstream {
    let upstream = upstreams.get(config)
    if (upstream === undefined) {
      upstream = new Upstream(config, this.#log)
      upstreams.set(config, upstream)
    }
    return upstream
  }

  /** Starts the upstreams that are new in a change, and closes those that no route and no id leads to any more. */
  #updateUpstreams(): void {
    const { upstreams, resources } = this.#stage
    for (const config of resources.upstreams.values()) this.#upstreamOf(this.#stage, config)
    const used = new Set<UpstreamConfig | undefined>(resources.upstreams.values())
    for (const owner of [...this.#routes.values(), ...this.#declaredOwners()]) used.add(owner.state.references.upstream)
    for (const [config, upstream] of upstreams) {
      if (used.has(config)) continue
      upstream.close()
      upstreams.delete(config)
    }
    if (this.#started) for (const upstream of upstreams.values()) upstream.start()
  }
}

function isSame<Key, Item>(a: ReadonlyMap<Key, Item>, b: ReadonlyMap<Key, Item>): boolean {
  if (a.size !== b.size) return false
  for (const [key, item] of a) if (b.get(key) !== item) return false
  return true
}

function isSameObject(a: References, b: References): boolean {
  return a.service === b.service && a.pluginConfig === b.pluginConfig && a.upstream === b.upstream
}
