import { checkReferences, type Resources } from './resources.ts'
import { type PluginEntry, RouteConfig, type Timeout, type Upstream } from './schema.ts'
import { configurationOf, validate } from './validate.ts'

/** A plugin with the configuration that it has on a route or in a global rule. */
export interface PlannedFilter {
  readonly plugin: string
  readonly priority: number
  readonly phase: 'rewrite' | 'access'
  readonly configuration: Buffer
}

/** What a route's configuration amounts to when services and plugin_configs are merged into it. */
export interface RoutePlan {
  /** By priority, high to low. Global rules are not among them. */
  readonly filters: readonly PlannedFilter[]
  readonly upstream: Upstream | undefined
  readonly timeout: Timeout | undefined
}

/**
 * Merges a route's configuration, plugin by plugin: service < plugin_config < route. The route's
 * upstream stands in place of the service's.
 *
 * @param place where the route stands, for the error
 * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_PLUGIN_UNKNOWN, FST_WASM_REFERENCE_UNKNOWN
 */
export function planRoute(resources: Resources, input: unknown, place: string): RoutePlan {
  const route = validate(RouteConfig, input, place)
  checkReferences(resources, route, place)
  const service = route.service_id === undefined ? undefined : resources.services.get(String(route.service_id))
  const pluginConfig =
    route.plugin_config_id === undefined ? undefined : resources.pluginConfigs.get(String(route.plugin_config_id))
  const upstream = [route, service].find((owner) => owner?.upstream !== undefined || owner?.upstream_id !== undefined)
  return {
    filters: planFilters(resources, { ...service?.plugins, ...pluginConfig?.plugins, ...route.plugins }, place),
    upstream: upstream?.upstream ?? resources.upstreams.get(String(upstream?.upstream_id)),
    timeout: route.timeout
  }
}

/** The filters of all global rules, by priority. */
export function planGlobalRules(resources: Resources): PlannedFilter[] {
  const plugins: Record<string, PluginEntry> = {}
  for (const rule of resources.globalRules.values()) Object.assign(plugins, rule.plugins)
  return planFilters(resources, plugins, 'global_rules')
}

function planFilters(resources: Resources, plugins: Record<string, PluginEntry>, place: string): PlannedFilter[] {
  const filters: PlannedFilter[] = []
  // In the order of their declaration, which decides between equal priorities.
  for (const [name, declaration] of resources.plugins) {
    // A plugin may have the name of something that every object has.
    const entry = Object.hasOwn(plugins, name) ? plugins[name] : undefined
    if (entry === undefined || entry._meta?.disable) continue
    filters.push({
      plugin: name,
      priority: entry._meta?.priority ?? declaration.priority ?? 0,
      phase: declaration.http_request_phase ?? 'access',
      configuration: configurationOf(entry, `${place}.plugins.${name}`, declaration.semantics)
    })
  }
  return filters.sort((a, b) => b.priority - a.priority)
}
