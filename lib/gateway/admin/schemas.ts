import { GlobalRule, PluginConfig, PluginEntry, Route, Service, Upstream } from '../../config/schema.ts'
import { AdminError } from './admin-error.ts'
import type { AdminTarget } from './target.ts'

/** By the names of their lists. */
export const SCHEMAS = {
  routes: Route,
  services: Service,
  upstreams: Upstream,
  plugin_configs: PluginConfig,
  global_rules: GlobalRule
} as const

/** What the schema leaves to be checked by hand. */
const CONF = {
  oneOf: [
    { type: 'object', minProperties: 1 },
    { type: 'string', minLength: 1 }
  ]
}
const CONF_OR_NOTHING = { oneOf: [{ type: 'object' }, { type: 'string' }] }

/**
 * What a plugin's entry in `plugins` must be.
 *
 * @throws AdminError 404 when no such plugin is declared
 */
export function pluginSchema(target: AdminTarget, name: string | undefined): object {
  const declaration = name === undefined ? undefined : target.resources.plugins.get(name)
  if (declaration === undefined) throw new AdminError(404, 'plugin not found in subsystem http')
  const { properties, ...rest } = PluginEntry
  const { semantics, conf_schema } = declaration
  if (semantics === 'envoy') return { ...rest, properties: { ...properties, conf: conf_schema ?? CONF_OR_NOTHING } }
  return { ...rest, properties: { ...properties, conf: conf_schema ?? CONF }, required: ['conf'] }
}

/**
 * What an object must be, of a kind by its name in the singular or the plural.
 *
 * @throws AdminError 400 when there is no such kind
 */
export function resourceSchema(kind: string = ''): object {
  for (const [plural, schema] of Object.entries(SCHEMAS)) {
    if (plural === kind || plural === `${kind}s`) return schema
  }
  throw new AdminError(400, `not found schema: ${kind}`)
}
