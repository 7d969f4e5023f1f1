import type { FastifyRequest } from 'fastify'
import { compileVars } from '../config/expression.ts'
import type { MissingReference, PlannedFilter } from '../config/plan.ts'
import type { PluginDeclaration, Timeout } from '../config/schema.ts'
import { DEFAULT_LIMITS, type Filter } from '../host/index.ts'
import type { Upstream } from './upstream/upstream.ts'
import { variableOf } from './variables.ts'

/** A filter where it stands: in a route or a global rule. */
export interface Placed {
  readonly planned: PlannedFilter
  readonly filter: Filter
  readonly declaration: PluginDeclaration
}

/** What follows the request's path: nothing, the application's handler, or the gateway's own routing. */
export interface Destination {
  readonly upstream: Upstream | undefined
  readonly timeout: Timeout | undefined
  readonly websocket: boolean
  /** Whether the route is the gateway's own: forwarded without a handler of the application. */
  readonly forwarded: boolean
  /** What is not there any more: requests are answered so, and go nowhere. */
  readonly missing: MissingReference | undefined
}

/**
 * What the hooks look up for a request: everything about its route is decided here. Requests in flight hold the plan that
 * they began with; one that another has taken the place of is retired, and idle when the last of them is over.
 */
export class Plan {
  /** All filters with what is known of them, in the order of `filters`. */
  readonly placed: readonly Placed[]
  /** The id of a route that is the gateway's own. */
  readonly route: string | undefined
  /** All filters, in the order of the response: global rules first, each by priority. */
  readonly filters: readonly Filter[]
  /** Indexes of `filters`: those of the rewrite phase, those of the access phase. */
  readonly rewrite: readonly number[]
  readonly access: readonly number[]
  readonly upstream: Upstream | undefined
  readonly timeout: Timeout | undefined
  readonly websocket: boolean
  readonly forwarded: boolean
  readonly missing: MissingReference | undefined
  /** Whether an access filter could ask for the request's body, which Fastify has parsed by then. */
  readonly watchesBody: boolean
  /** Whether a filter has a callback for the trailers of responses. */
  readonly seesTrailers: boolean
  /** Bytes of a body that may be held for the filters, 0: no limit. */
  readonly bodyLimit: number
  /** By index of `filters`, for which requests they run (`_meta.filter`); `undefined` when no filter says so. */
  readonly conditions: readonly (((request: FastifyRequest) => boolean) | undefined)[] | undefined
  /** By index of `filters`, what stands in place of the body of their error responses; `undefined` when there is none. */
  readonly errorResponses: readonly (string | object | undefined)[] | undefined
  readonly #mayFailOpen: boolean
  #exchanges = 0
  #onIdle: (() => void) | undefined

  /** @throws FST_WASM_OPTIONS_INVALID for a `_meta.filter` that is none */
  constructor(placed: readonly Placed[], destination: Destination, place: string) {
    const indexes = (phase: PlannedFilter['phase']) =>
      compact(placed.flatMap(({ planned }, i) => (planned.phase === phase ? [i] : [])))
    const limits = placed.map(({ filter }) => (filter.plugin.settings.limits ?? DEFAULT_LIMITS).bodyBytes)
    this.placed = placed
    this.route = destination.forwarded ? place.slice(place.indexOf('.') + 1) : undefined
    this.filters = placed.map(({ filter }) => filter)
    this.rewrite = indexes('rewrite')
    this.access = indexes('access')
    this.upstream = destination.upstream
    this.timeout = destination.timeout
    this.websocket = destination.websocket
    this.forwarded = destination.forwarded
    this.missing = destination.missing
    this.watchesBody = placed.some(
      ({ planned, filter }) => planned.phase === 'access' && filter.plugin.module.readsRequestBody
    )
    this.seesTrailers = placed.some(({ filter }) => filter.plugin.module.seesResponseTrailers)
    // One copy serves all filters of the exchange.
    this.bodyLimit = limits.includes(0) ? 0 : Math.max(0, ...limits)
    this.#mayFailOpen = placed.some(({ declaration }) => declaration.fail === 'open')
    this.conditions = conditionsOf(placed, place)
    const errorResponses = placed.map(({ planned }) => planned.meta?.error_response)
    this.errorResponses = errorResponses.some((body) => body !== undefined) ? errorResponses : undefined
  }

  /** By index of `filters`, whether exchanges go on without it when it fails (`fail: open`). */
  failsOpen(index: number): boolean {
    return this.#mayFailOpen && this.placed[index]!.declaration.fail === 'open'
  }

  /** An exchange begins to hold the plan. */
  enter(): void {
    this.#exchanges++
  }

  /** The exchange is over. */
  leave(): void {
    this.#exchanges--
    if (this.#exchanges === 0) this.#onIdle?.()
  }

  /** @param onIdle is called when the last exchange is over, at once when there is none */
  retire(onIdle: () => void): void {
    this.#onIdle = onIdle
    if (this.#exchanges === 0) onIdle()
  }
}

/** The lists that nearly all routes have. */
const NONE: readonly number[] = []
const FIRST: readonly number[] = [0]

/** The same list, in as little memory as very many routes may take together. */
function compact(indexes: readonly number[]): readonly number[] {
  if (indexes.length === 0) return NONE
  if (indexes.length === 1 && indexes[0] === 0) return FIRST
  // Copied, it has no room to grow.
  return indexes.slice()
}

function conditionsOf(placed: readonly Placed[], place: string): Plan['conditions'] {
  const conditions = placed.map(({ planned }) => {
    const { meta, plugin } = planned
    if (meta?.filter === undefined) return undefined
    const matches = compileVars(meta.filter, `${place}.plugins.${plugin}._meta.filter`)
    return (request: FastifyRequest) => matches((name) => variableOf(request, name))
  })
  return conditions.some((condition) => condition !== undefined) ? conditions : undefined
}
