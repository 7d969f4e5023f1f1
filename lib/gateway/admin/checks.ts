import type { Resources } from '../../config/resources.ts'
import { checkConfiguration, configurationOf, validate } from '../../config/validate.ts'
import type { ResourceKind } from '../../stores/resource-store.ts'
import { AdminError } from './admin-error.ts'
import { valuesOf } from './list.ts'
import { SCHEMAS } from './schemas.ts'
import type { AdminTarget } from './target.ts'

type Fields = Readonly<Record<string, unknown>>

/** What APISIX calls one of a kind. */
export const NAMES: Readonly<Record<ResourceKind, string>> = {
  routes: 'route',
  services: 'service',
  upstreams: 'upstream',
  plugin_configs: 'plugin config',
  global_rules: 'global rule'
}

/**
 * Checks a new value by itself and against all that is in effect, in APISIX's order and words.
 *
 * @throws AdminError 400
 */
export function checkValue(resources: Resources, kind: ResourceKind, id: string, value: Fields): void {
  for (const [single, several] of [
    ['host', 'hosts'],
    ['remote_addr', 'remote_addrs']
  ] as const) {
    if (value[single] === undefined || value[several] === undefined) continue
    throw new AdminError(400, `only one of ${single} or ${several} is allowed`)
  }
  const { plugins } = value
  checkSchema(kind, isObject(plugins) ? { ...value, plugins: {} } : value)
  checkReference(resources.upstreams, value.upstream_id, 'upstream')
  checkReference(resources.services, value.service_id, 'service')
  checkReference(resources.plugin_configs, value.plugin_config_id, 'plugin config')
  if (!isObject(plugins)) return
  for (const [name, entry] of Object.entries(plugins)) checkPlugin(resources, name, entry)
  checkSchema(kind, value)
  if (kind === 'global_rules') checkGlobalRule(resources, id, plugins)
}

/** What the configuration says against a value, in APISIX's words. */
export function invalidConfiguration(error: Error): AdminError {
  return new AdminError(400, `invalid configuration: ${reasonOf(error)}`)
}

function reasonOf({ message }: Error): string {
  return message.replace(/^The configuration is invalid: /, '')
}

function checkSchema(kind: ResourceKind, value: Fields): void {
  try {
    validate(SCHEMAS[kind], value, '')
  } catch (error) {
    throw invalidConfiguration(error as Error)
  }
}

function checkPlugin(resources: Resources, name: string, entry: unknown): void {
  if (!isObject(entry)) throw new AdminError(400, `invalid plugin conf ${JSON.stringify(entry)} for plugin [${name}]`)
  const declaration = resources.plugins.get(name)
  if (declaration === undefined) throw new AdminError(400, `unknown plugin [${name}]`)
  try {
    const { conf_schema: _, ...withoutSchema } = declaration
    configurationOf(entry, name, withoutSchema)
  } catch {
    const reason =
      entry.conf === undefined
        ? 'property "conf" is required'
        : 'property "conf" validation failed: value should match only one schema, but matches none'
    throw new AdminError(400, `failed to check the configuration of plugin ${name} err: ${reason}`)
  }
  try {
    checkConfiguration(entry.conf, 'conf', declaration.conf_schema)
  } catch (error) {
    const reason = reasonOf(error as Error)
    throw new AdminError(400, `failed to check the configuration of plugin ${name} err: ${reason}`)
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
 * Checks that no object refers to one that is to go.
 *
 * @throws AdminError 400
 */
export function checkUnused(target: AdminTarget, kind: ResourceKind, id: string): void {
  const field = { upstreams: 'upstream_id', services: 'service_id', plugin_configs: 'plugin_config_id' }[kind as string]
  if (field === undefined) return
  for (const users of ['routes', 'services'] as const) {
    for (const [user, value] of valuesOf(target, users)) {
      if (value[field] !== undefined && String(value[field]) === id) throw inUse(kind, `${NAMES[users]} [${user}]`)
    }
  }
}

/** @param user `route [1]` */
export function inUse(kind: ResourceKind, user: string): AdminError {
  const directly = kind === 'services' ? ' directly' : ''
  return new AdminError(400, `can not delete this ${NAMES[kind]}${directly}, ${user} is still using it now`)
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
