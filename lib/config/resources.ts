import { FST_WASM_OPTIONS_INVALID, FST_WASM_PLUGIN_UNKNOWN, FST_WASM_REFERENCE_UNKNOWN } from '../errors.ts'
import { readConfigFile } from './file.ts'
import {
  type ForeignFunction,
  type GlobalRule,
  Options,
  type PluginConfig,
  type PluginDeclaration,
  type Route,
  type Service,
  type Upstream
} from './schema.ts'
import { configurationOf, nodesOf, validate } from './validate.ts'

/** Everything that routes may name, by name or id: the options and the configuration file, checked. */
export interface Resources {
  readonly plugins: ReadonlyMap<string, PluginDeclaration>
  readonly routes: ReadonlyMap<string, Route>
  readonly services: ReadonlyMap<string, Service>
  readonly upstreams: ReadonlyMap<string, Upstream>
  readonly pluginConfigs: ReadonlyMap<string, PluginConfig>
  readonly globalRules: ReadonlyMap<string, GlobalRule>
  /** The user's own, by name. */
  readonly foreignFunctions: ReadonlyMap<string, ForeignFunction>
}

/**
 * Checks what `register` was given, reads the configuration file that it names, and checks that everything named is
 * there.
 *
 * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_CONFIG_UNREADABLE, FST_WASM_PLUGIN_UNKNOWN, FST_WASM_REFERENCE_UNKNOWN
 */
export async function loadResources(input: unknown): Promise<Resources> {
  const { plugins, ...rest } = (input ?? {}) as Options
  // Copied apart: bytes of a module are no configuration.
  const modules = Array.isArray(plugins) ? plugins.map((plugin) => plugin?.module) : []
  const options = validate(Options, { ...rest, ...(plugins !== undefined && { plugins: withoutModules(plugins) }) }, '')
  options.plugins?.forEach((plugin, i) => {
    if (modules[i] !== undefined) plugin.module = modules[i]
  })
  const sources = [options]
  if (options.config !== undefined) sources.push(await readConfigFile(options.config as string))

  const resources: Resources = {
    plugins: index(sources, 'plugins', 'name'),
    routes: index(sources, 'routes', 'id'),
    services: index(sources, 'services', 'id'),
    upstreams: index(sources, 'upstreams', 'id'),
    pluginConfigs: index(sources, 'plugin_configs', 'id'),
    globalRules: index(sources, 'global_rules', 'id'),
    foreignFunctions: foreignFunctionsOf(options)
  }
  check(resources)
  return resources
}

function withoutModules(plugins: unknown): unknown {
  if (!Array.isArray(plugins)) return plugins
  return plugins.map((plugin, i) => {
    if (typeof plugin !== 'object' || plugin === null || !('module' in plugin)) return plugin
    if (!(plugin.module instanceof Uint8Array)) {
      throw new FST_WASM_OPTIONS_INVALID(`plugins[${i}].module must be a Uint8Array`)
    }
    const { module: _, ...declaration } = plugin
    return declaration
  })
}

function foreignFunctionsOf({ foreign_functions = {} }: Options): Map<string, ForeignFunction> {
  if (typeof foreign_functions !== 'object' || foreign_functions === null) {
    throw new FST_WASM_OPTIONS_INVALID('foreign_functions must be an object of functions')
  }
  const functions = new Map(Object.entries(foreign_functions))
  for (const [name, foreignFunction] of functions) {
    if (typeof foreignFunction !== 'function') {
      throw new FST_WASM_OPTIONS_INVALID(`foreign_functions.${name} must be a function`)
    }
  }
  return functions
}

type List = 'plugins' | 'routes' | 'services' | 'upstreams' | 'plugin_configs' | 'global_rules'

function index<Item>(sources: readonly Options[], list: List, key: 'name' | 'id'): Map<string, Item> {
  const items = new Map<string, Item>()
  for (const source of sources) {
    for (const [i, item] of (source[list] ?? []).entries()) {
      const id = String((item as Record<string, unknown>)[key] ?? `arr_${i + 1}`)
      if (items.has(id)) throw new FST_WASM_OPTIONS_INVALID(`${list}[${i}].${key}: there is another one named "${id}"`)
      items.set(id, item as Item)
    }
  }
  return items
}

function check(resources: Resources): void {
  for (const { name, file, module, conf, semantics } of resources.plugins.values()) {
    // Such keys of an object are not to be told from what every object has.
    if (name in {}) throw new FST_WASM_OPTIONS_INVALID(`plugins.${name}: a plugin cannot have this name`)
    if ((file === undefined) === (module === undefined)) {
      throw new FST_WASM_OPTIONS_INVALID(`plugins.${name}: exactly one of file and module is required`)
    }
    if (conf !== undefined) configurationOf({ conf }, `plugins.${name}`, semantics)
  }
  for (const [id, upstream] of resources.upstreams) checkUpstream(upstream, `upstreams.${id}`)
  for (const [id, service] of resources.services) checkReferences(resources, service, `services.${id}`)
  for (const [id, pluginConfig] of resources.pluginConfigs) {
    checkReferences(resources, pluginConfig, `plugin_configs.${id}`)
  }
  const owners = new Map<string, string>()
  for (const [id, rule] of resources.globalRules) {
    checkReferences(resources, rule, `global_rules.${id}`)
    for (const name of Object.keys(rule.plugins)) {
      const owner = owners.get(name)
      if (owner !== undefined) {
        throw new FST_WASM_OPTIONS_INVALID(
          `global_rules.${id}.plugins: plugin '${name}' already exists in global rule with id '${owner}'`
        )
      }
      owners.set(name, id)
    }
  }
}

/**
 * Checks the plugins and the references of a route, a service or whatever else has some of them.
 *
 * @param place where it stands, for the error
 * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_PLUGIN_UNKNOWN, FST_WASM_REFERENCE_UNKNOWN
 */
export function checkReferences(
  resources: Resources,
  owner: Partial<Pick<Service, 'plugins' | 'upstream' | 'upstream_id'>> & {
    plugin_config_id?: string | number
    service_id?: string | number
  },
  place: string
): void {
  for (const [name, entry] of Object.entries(owner.plugins ?? {})) {
    const declaration = resources.plugins.get(name)
    if (declaration === undefined) {
      const declared = [...resources.plugins.keys()].join(', ') || 'none'
      throw new FST_WASM_PLUGIN_UNKNOWN(`${place}.plugins.${name}`, name, declared)
    }
    configurationOf(entry, `${place}.plugins.${name}`, declaration.semantics)
  }
  if (owner.upstream !== undefined && owner.upstream_id !== undefined) {
    throw new FST_WASM_OPTIONS_INVALID(`${place}: only one of upstream and upstream_id is allowed`)
  }
  if (owner.upstream !== undefined) checkUpstream(owner.upstream, `${place}.upstream`)
  find(resources.upstreams, owner.upstream_id, `${place}.upstream_id`, 'upstream')
  find(resources.pluginConfigs, owner.plugin_config_id, `${place}.plugin_config_id`, 'plugin_config')
  find(resources.services, owner.service_id, `${place}.service_id`, 'service')
}

function find<Item>(
  items: ReadonlyMap<string, Item>,
  id: string | number | undefined,
  place: string,
  kind: string
): void {
  if (id !== undefined && !items.has(String(id))) throw new FST_WASM_REFERENCE_UNKNOWN(place, kind, String(id))
}

function checkUpstream(upstream: Upstream, place: string): void {
  nodesOf(upstream, place)
  if (upstream.pass_host === 'rewrite' && upstream.upstream_host === undefined) {
    throw new FST_WASM_OPTIONS_INVALID(`${place}: pass_host "rewrite" needs an upstream_host`)
  }
}
