import type { Resources } from '../../config/resources.ts'
import { GlobalRule, PluginConfig, Route, Service, Upstream } from '../../config/schema.ts'
import { configurationOf, validate } from '../../config/validate.ts'
import type { ResourceKind } from '../../stores/resource-store.ts'
import { AdminError } from './admin-error.ts'

type Fields = Readonly<Record<string, unknown>>

/** What APISIX calls one of a kind. */
export const NAMES: Readonly<Record<ResourceKind, string>> = {
  routes: 'route',
  services: 'service',
  upstreams: 'upstream',
  plugin_configs: 'plugin config',
  global_rules: 'global rule'
}

export const SCHEMAS = {
  routes: Route,
  services: Service,
  upstreams: Upstream,
  plugin_configs: PluginConfig,
  global_rules: GlobalRule
} as const

/**
 * Checks a new value by itself and against all that is in effect, in APISIX's order and words.
 *
 * @throws AdminError 400
 */
export function checkValue(resources: Resources, kind: ResourceKind, id: string, value: Fields): void {
  checkPlugins(resources, value.plugins)
  if (value.host !== undefined && value.hosts !== undefined) {
    throw new AdminError(400, 'only one of host or hosts is allowed')
  }
  try {
    validate(SCHEMAS[kind], value, '')
  } catch (error) {
    throw invalidConfiguration(error as Error)
  }
  checkReference(resources.upstreams, value.upstream_id, 'upstream')
  checkReference(resources.services, value.service_id, 'service')
  checkReference(resources.plugin_configs, value.plugin_config_id, 'plugin config')
  if (kind === 'global_rules') checkGlobalRule(resources, id, value.plugins as Fields)
}

/** What the configuration says against a value, in APISIX's words. */
export function invalidConfiguration(error: Error): AdminError {
  return new AdminError(400, `invalid configuration: ${error.message.replace(/^The configuration is invalid: /, '')}`)
}

function checkPlugins(resources: Resources, plugins: unknown): void {
  if (typeof plugins !== 'object' || plugins === null || Array.isArray(plugins)) return
  for (const [name, entry] of Object.entries(plugins)) {
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
      throw new AdminError(400, `invalid plugin conf ${JSON.stringify(entry)} for plugin [${name}]`)
    }
    const declaration = resources.plugins.get(name)
    if (declaration === undefined) throw new AdminError(400, `unknown plugin [${name}]`)
    try {
      configurationOf(entry, name, declaration.semantics)
    } catch {
      const reason =
        entry.conf === undefined
          ? 'property "conf" is required'
          : 'property "conf" validation failed: value should match only one schema, but matches none'
      throw new AdminError(400, `failed to check the configuration of plugin ${name} err: ${reason}`)
    }
  }
}

function checkReference(known: ReadonlyMap<string, unknown>, id: unknown, name: string): void {
  if (id === undefined || known.has(String(id))) return
  throw new AdminError(400, `failed to fetch ${name} info by ${name} id [${id}], response code: 404`)
}

function checkGlobalRule(resources: Resources, id: string, plugins: Fields): void {
  for (const [other, rule] of resources.global_rules) {
    if (other === id) continue
    for (const name of Object.keys(plugins)) {
      if (!Object.hasOwn(rule.plugins, name)) continue
      throw new AdminError(400, `plugin '${name}' already exists in global rule with id '${other}'`)
    }
  }
}

/**
 * Checks that nothing refers to an object that is to go.
 *
 * @throws AdminError 400
 */
export function checkUnused(resources: Resources, kind: ResourceKind, id: string): void {
  const field = { upstreams: 'upstream_id', services: 'service_id', plugin_configs: 'plugin_config_id' }[kind as string]
  if (field === undefined) return
  const users = [['service', resources.services] as const, ['route', resources.routes] as const]
  for (const [name, objects] of users) {
    for (const [user, object] of objects) {
      const reference = (object as Fields)[field]
      if (reference === undefined || String(reference) !== id) continue
      const directly = kind === 'services' ? ' directly' : ''
      throw new AdminError(
        400,
        `can not delete this ${NAMES[kind]}${directly}, ${name} [${user}] is still using it now`
      )
    }
  }
}
