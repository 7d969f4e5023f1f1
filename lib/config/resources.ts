import { isDeepStrictEqual } from 'node:util'
import {
  FST_WASM_OPTIONS_INVALID,
  FST_WASM_PLUGIN_UNKNOWN,
  FST_WASM_REFERENCE_UNKNOWN,
  type WasmError
} from '../errors.ts'
import type { ResourceKind, StoredResource } from '../stores/resource-store.ts'
import { compileVars } from './expression.ts'
import { readConfigFile } from './file.ts'
import { referencesOf } from './plan.ts'
import { conditionsOf } from './route.ts'
import {
  type ForeignFunction,
  GlobalRule,
  Options,
  PluginConfig,
  type PluginDeclaration,
  Route,
  Service,
  Upstream
} from './schema.ts'
import { checkUpstream } from './upstream.ts'
import { configurationOf, validate } from './validate.ts'

/** Everything that routes may name, by name or id, and the routes that are matched where the application has none. */
export interface Resources {
  readonly plugins: ReadonlyMap<string, PluginDeclaration>
  readonly routes: ReadonlyMap<string, Route>
  readonly services: ReadonlyMap<string, Service>
  readonly upstreams: ReadonlyMap<string, Upstream>
  readonly plugin_configs: ReadonlyMap<string, PluginConfig>
  readonly global_rules: ReadonlyMap<string, GlobalRule>
}

const SCHEMAS = {
  routes: Route,
  services: Service,
  upstreams: Upstream,
  plugin_configs: PluginConfig,
  global_rules: GlobalRule
} as const

/** What stands in a list or under a name. */
type Lists = Partial<Record<'plugins' | ResourceKind, readonly object[]>>

/**
 * Checks what `register` was given, by itself.
 *
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function checkOptions(input: unknown): Options {
  const { plugins, ...rest } = (input ?? {}) as Options
  // Copied apart: bytes of a module are no configuration.
  const modules = Array.isArray(plugins) ? plugins.map((plugin) => plugin?.module) : []
  const options = validate(Options, { ...rest, ...(plugins !== undefined && { plugins: withoutModules(plugins) }) }, '')
  options.plugins?.forEach((plugin, i) => {
    if (modules[i] !== undefined) plugin.module = modules[i]
  })
  return options
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

/**
 * The functions of the user that filters may call, by name.
 *
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function foreignFunctionsOf({ foreign_functions = {} }: Options): Map<string, ForeignFunction> {
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

/** The files that the option `config` names. */
export function configFilesOf({ config }: Options): string[] {
  return config === undefined ? [] : [config].flat()
}

/**
 * Reads the configuration files that options name, and checks that everything that these and the files name is there.
 *
 * @param options as `checkOptions` answers them
 * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_CONFIG_UNREADABLE, FST_WASM_PLUGIN_UNKNOWN, FST_WASM_REFERENCE_UNKNOWN
 */
export async function loadResources(options: Options): Promise<Resources> {
  const sources: Lists[] = [options]
  for (const path of configFilesOf(options)) sources.push(await readConfigFile(path))
  const problems = new Problems()
  const resources: Resources = {
    plugins: index(sources, 'plugins', problems),
    routes: index(sources, 'routes', problems),
    services: index(sources, 'services', problems),
    upstreams: index(sources, 'upstreams', problems),
    plugin_configs: index(sources, 'plugin_configs', problems),
    global_rules: index(sources, 'global_rules', problems)
  }
  check(resources, problems)
  problems.throw()
  return resources
}

/** What is wrong, all of it: one error is thrown as it is, several as one that lists them. */
export class Problems {
  readonly #errors: WasmError[] = []

  /** @returns whether nothing was wrong */
  attempt(action: () => void): boolean {
    try {
      action()
      return true
    } catch (error) {
      this.#errors.push(error as WasmError)
      return false
    }
  }

  /** @throws FST_WASM_… */
  throw(): void {
    if (this.#errors.length === 0) return
    if (this.#errors.length === 1) throw this.#errors[0]
    const texts = this.#errors.map(({ message }) => message.replace(/^The configuration is invalid: /, ''))
    throw new FST_WASM_OPTIONS_INVALID(texts.join('; '), { cause: this.#errors[0]! })
  }
}

function index<Item extends object>(
  sources: readonly Lists[],
  list: 'plugins' | ResourceKind,
  problems: Problems
): Map<string, Item> {
  const key = list === 'plugins' ? 'name' : 'id'
  const items = new Map<string, Item>()
  for (const source of sources) {
    for (const [i, item] of (source[list] ?? []).entries()) {
      const id = String((item as Record<string, unknown>)[key] ?? `arr_${i + 1}`)
      problems.attempt(() => {
        if (items.has(id)) {
          throw new FST_WASM_OPTIONS_INVALID(`${list}[${i}].${key}: there is another one named "${id}"`)
        }
      })
      items.set(id, item as Item)
    }
  }
  return items
}

function check(resources: Resources, problems: Problems): void {
  for (const plugin of resources.plugins.values()) problems.attempt(() => checkPlugin(plugin))
  for (const kind of ['upstreams', 'services', 'plugin_configs', 'global_rules', 'routes'] as const) {
    for (const id of resources[kind].keys()) problems.attempt(() => checkResource(resources, kind, id))
  }
}

function checkPlugin({ name, file, module, conf, semantics }: PluginDeclaration): void {
  // Such keys of an object are not to be told from what every object has.
  if (name in {}) throw new FST_WASM_OPTIONS_INVALID(`plugins.${name}: a plugin cannot have this name`)
  if ((file === undefined) === (module === undefined)) {
    throw new FST_WASM_OPTIONS_INVALID(`plugins.${name}: exactly one of file and module is required`)
  }
  if (conf !== undefined) configurationOf({ conf }, `plugins.${name}`, semantics)
}

/** Checks one object against all others. */
function checkResource(resources: Resources, kind: ResourceKind, id: string): void {
  const place = `${kind}.${id}`
  if (kind === 'upstreams') {
    checkUpstream(resources.upstreams.get(id)!, place)
    return
  }
  checkReferences(resources, resources[kind].get(id)!, place)
  if (kind === 'routes') {
    const route = resources.routes.get(id)!
    conditionsOf(route, referencesOf(resources, route).service, place)
  }
  if (kind !== 'global_rules') return
  for (const name of Object.keys(resources.global_rules.get(id)!.plugins)) {
    for (const [other, rule] of resources.global_rules) {
      // The first one has it.
      if (other === id) break
      if (Object.hasOwn(rule.plugins, name)) {
        throw new FST_WASM_OPTIONS_INVALID(
          `${place}.plugins: plugin '${name}' already exists in global rule with id '${other}'`
        )
      }
    }
  }
}

/**
 * Resources with one of them put in, replaced, or taken out. What refers to it is not looked at.
 *
 * @param value not yet checked; `undefined` to take it out
 * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_PLUGIN_UNKNOWN, FST_WASM_REFERENCE_UNKNOWN
 */
export function withResource(
  resources: Resources,
  kind: ResourceKind,
  id: string,
  value: Readonly<Record<string, unknown>> | undefined
): Resources {
  const items = new Map<string, object>(resources[kind])
  if (value === undefined) items.delete(id)
  else items.set(id, validate(SCHEMAS[kind], value, `${kind}.${id}`))
  const next = { ...resources, [kind]: items }
  if (value !== undefined) checkResource(next, kind, id)
  return next
}

/** In this order what an object refers to comes before it. */
const ORDER = ['upstreams', 'services', 'plugin_configs', 'global_rules', 'routes'] as const

/**
 * Adds what a store holds to what is declared.
 *
 * @param refused is told of every object that cannot be added, and why
 */
export function withStored(
  declared: Resources,
  stored: ReadonlyMap<ResourceKind, ReadonlyMap<string, StoredResource>>,
  refused: (object: StoredResource, error: Error) => void
): Resources {
  const resources = { ...declared }
  for (const kind of ORDER) {
    const items = new Map<string, object>(declared[kind])
    Object.assign(resources, { [kind]: items })
    for (const object of stored.get(kind)?.values() ?? []) {
      try {
        if (items.has(object.id)) {
          throw new FST_WASM_OPTIONS_INVALID(`${kind}.${object.id} is declared in the configuration as well`)
        }
        items.set(object.id, validate(SCHEMAS[kind], object.value, `${kind}.${object.id}`))
        checkResource(resources, kind, object.id)
      } catch (error) {
        if (!declared[kind].has(object.id)) items.delete(object.id)
        refused(object, error as Error)
      }
    }
  }
  return resources
}

/** Puts the objects of before in place of those that have the same content: whoever compares them need not look inside. */
export function keepUnchanged(before: Resources, next: Resources): Resources {
  const kept: Record<string, ReadonlyMap<string, object>> = {}
  for (const kind of ['plugins', ...ORDER] as const) {
    const previous = before[kind] as ReadonlyMap<string, object>
    const items = new Map<string, object>()
    for (const [id, item] of next[kind] as ReadonlyMap<string, object>) {
      const old = previous.get(id)
      items.set(id, old !== undefined && isDeepStrictEqual(old, item) ? old : item)
    }
    kept[kind] = items
  }
  return kept as unknown as Resources
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
    if (entry._meta?.filter !== undefined) compileVars(entry._meta.filter, `${place}.plugins.${name}._meta.filter`)
  }
  if (owner.upstream !== undefined && owner.upstream_id !== undefined) {
    throw new FST_WASM_OPTIONS_INVALID(`${place}: only one of upstream and upstream_id is allowed`)
  }
  if (owner.upstream !== undefined) checkUpstream(owner.upstream, `${place}.upstream`)
  find(resources.upstreams, owner.upstream_id, `${place}.upstream_id`, 'upstream')
  find(resources.plugin_configs, owner.plugin_config_id, `${place}.plugin_config_id`, 'plugin_config')
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
