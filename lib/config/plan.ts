import type { Resources } from './resources.ts'
import type { PluginConfig, PluginDeclaration, PluginEntry, RouteConfig, Service, Timeout, Upstream } from './schema.ts'
import { configurationOf } from './validate.ts'

/** A plugin with the configuration that it has on a route or in a global rule. */
export interface PlannedFilter {
  readonly plugin: string
  readonly priority: number
  readonly phase: 'rewrite' | 'access'
  readonly configuration: Buffer
  readonly meta: PluginEntry['_meta']
  /** Whose entry it is: `services.a`, `plugin_configs.b`, `global_rules.c`, `routes.d` or `config.wasm` */
  readonly from: string
}

/** The objects that a route refers to. */
export interface References {
  readonly service: Service | undefined
  readonly pluginConfig: PluginConfig | undefined
  /** The route's own, or else its service's. */
  readonly upstream: Upstream | undefined
}

/** What a route's configuration amounts to when services and plugin_configs are merged into it. */
export interface RoutePlan {
  /** By priority, high to low. Global rules are not among them. */
  readonly filters: readonly PlannedFilter[]
  readonly upstream: Upstream | undefined
  readonly timeout: Timeout | undefined
}

/** An object that a route refers to and that is not there. */
export interface MissingReference {
  readonly kind: 'service' | 'plugin_config' | 'upstream'
  readonly id: string
}

/** Finds what a route refers to; what is not there is `undefined`. */
export function referencesOf(resources: Resources, route: RouteConfig): References {
  const service = route.service_id === undefined ? undefined : resources.services.get(String(route.service_id))
  const pluginConfig =
    route.plugin_config_id === undefined ? undefined : resources.plugin_configs.get(String(route.plugin_config_id))
  const owner = upstreamOwner(route, service)
  const upstream = owner?.upstream ?? resources.upstreams.get(String(owner?.upstream_id))
  return { service, pluginConfig, upstream }
}

/** Whose upstream it is: the route's own, or else its service's. */
function upstreamOwner(route: RouteConfig, service: Service | undefined): RouteConfig | Service | undefined {
  return [route, service].find((owner) => owner?.upstream !== undefined || owner?.upstream_id !== undefined)
}

/** The first object that a request to a route would need and that is not there: the Admin API can be made to delete it. */
export function missingReference(resources: Resources, route: RouteConfig): MissingReference | undefined {
  const { service, pluginConfig, upstream } = referencesOf(resources, route)
  if (route.service_id !== undefined && service === undefined) {
    return { kind: 'service', id: String(route.service_id) }
  }
  if (route.plugin_config_id !== undefined && pluginConfig === undefined) {
    return { kind: 'plugin_config', id: String(route.plugin_config_id) }
  }
  const upstreamId = upstreamOwner(route, service)?.upstream_id
  return upstreamId === undefined || upstream !== undefined ? undefined : { kind: 'upstream', id: String(upstreamId) }
}

/**
 * Merges a route's configuration, plugin by plugin: service < plugin_config < route. The route's
 * upstream stands in place of the service's.
 *
 * @param route validated, with the plugins and references that it names checked
 * @param place where the route stands, for the error
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function planRoute(resources: Resources, route: RouteConfig, place: string): RoutePlan {
  const { service, pluginConfig, upstream } = referencesOf(resources, route)
  const plugins = { ...service?.plugins, ...pluginConfig?.plugins, ...route.plugins }
  const from = (name: string) => {
    if (has(route, name)) return place.replace(/^.*: /, '')
    return has(pluginConfig, name) ? `plugin_configs.${route.plugin_config_id}` : `services.${route.service_id}`
  }
  return { filters: planFilters(resources, plugins, place, from), upstream, timeout: route.timeout }
}

function has(owner: { readonly plugins?: object } | undefined, name: string): boolean {
  return owner?.plugins !== undefined && Object.hasOwn(owner.plugins, name)
}

/** The filters of all global rules, by priority. */
export function planGlobalRules(resources: Resources): PlannedFilter[] {
  const plugins: Record<string, PluginEntry> = {}
  for (const rule of resources.global_rules.values()) Object.assign(plugins, rule.plugins)
  const from = (name: string) => {
    const [id] = [...resources.global_rules].find(([, rule]) => has(rule, name))!
    return `global_rules.${id}`
  }
  return planFilters(resources, plugins, 'global_rules', from)
}

function planFilters(
  resources: Resources,
  plugins: Record<string, PluginEntry>,
  place: string,
  from: (name: string) => string
): PlannedFilter[] {
  const filters: PlannedFilter[] = []
  // In the order of their declaration, which decides between equal priorities.
  for (const [name, declaration] of declarationsOf(resources, plugins)) {
    const entry = plugins[name]!
    if (entry._meta?.disable) continue
    filters.push({
      plugin: name,
      priority: entry._meta?.priority ?? declaration.priority ?? 0,
      phase: declaration.http_request_phase ?? 'access',
      configuration: configurationOf(entry, `${place}.plugins.${name}`, declaration),
      meta: entry._meta,
      from: from(name)
    })
  }
  return filters.sort((a, b) => b.priority - a.priority)
}

function declarationsOf(resources: Resources, plugins: Record<string, PluginEntry>): [string, PluginDeclaration][] {
  // A plugin may have the name of something that every object has.
  return [...resources.plugins].filter(([name]) => Object.hasOwn(plugins, name))
}
