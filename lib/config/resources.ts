import {
  FST_WASM_OPTIONS_INVALID,
  FST_WASM_PLUGIN_UNKNOWN,
  FST_WASM_REFERENCE_UNKNOWN,
  type WasmError
} from '../errors.ts'
import type { ResourceKind } from '../stores/resource-store.ts'
import { compileVars } from './expression.ts'
import type { ConfigFileContent } from './file.ts'
import { checkHosts } from './hosts.ts'
import { referencesOf } from './plan.ts'
import { conditionsOf } from './route.ts'
import {
  type ForeignFunction,
  GlobalRule,
  Options,
  PluginConfig,
  type PluginDeclaration,
  PluginEntry,
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

export const SCHEMAS = {
  routes: Route,
  services: Service,
  upstreams: Upstream,
  plugin_configs: PluginConfig,
  global_rules: GlobalRule
} as const

/** The options, or a file: what it has in lists. */
interface Source {
  /** For errors: nothing, or the path */
  readonly place: string
  readonly lists: Partial<Record<'plugins' | ResourceKind, readonly object[]>>
}

/**
 * Checks what `register` was given, by itself.
 *
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function checkOptions(input: unknown): Options {
  if (!isPlainObject(input)) {
    const hint = typeof input === 'string' ? '; a file is named by the option `config`' : ''
    throw new FST_WASM_OPTIONS_INVALID(`the options must be an object${hint}`)
  }
  const { plugins, ...rest } = input as Options
  // Copied apart: bytes of a module are no configuration, and a copy of a schema would not have all of it.
  const objects = Array.isArray(plugins) ? plugins.map(objectsOf) : []
  const declarations = plugins !== undefined && { plugins: withoutObjects(plugins) }
  const options = validate(Options, { ...rest, ...declarations }, '')
  options.plugins?.forEach((plugin, i) => {
    Object.assign(plugin, objects[i])
  })
  return options
}

/** Of any realm. */
function isPlainObject(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

function objectsOf(plugin: PluginDeclaration | null | undefined): Partial<PluginDeclaration> {
  const { module, conf_schema } = plugin ?? {}
  return { ...(module !== undefined && { module }), ...(conf_schema !== undefined && { conf_schema }) }
}

function withoutObjects(plugins: unknown): unknown {
  if (!Array.isArray(plugins)) return plugins
  return plugins.map((plugin, i) => {
    if (typeof plugin !== 'object' || plugin === null) return plugin
    const { module, conf_schema, ...declaration } = plugin
    if ('module' in plugin && !(module instanceof Uint8Array)) {
      throw new FST_WASM_OPTIONS_INVALID(`plugins[${i}].module must be a Uint8Array`)
    }
    if (conf_schema !== undefined && (typeof conf_schema !== 'object' || conf_schema === null)) {
      throw new FST_WASM_OPTIONS_INVALID(`plugins[${i}].conf_schema must be a schema of TypeBox`)
    }
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

/**
 * Puts together what options and configuration files hold, and checks that everything that they name is there.
 *
 * @param options as `checkOptions` answers them
 * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_PLUGIN_UNKNOWN, FST_WASM_REFERENCE_UNKNOWN
 */
export function loadResources(options: Options, files: readonly ConfigFileContent[]): Resources {
  const sources: Source[] = [{ place: '', lists: options }]
  for (const file of files) sources.push({ place: `${file.path}: `, lists: file })
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
  sources: readonly Source[],
  list: 'plugins' | ResourceKind,
  problems: Problems
): Map<string, Item> {
  const key = list === 'plugins' ? 'name' : 'id'
  const items = new Map<string, Item>()
  // One count for all sources, so that objects without an id may stand in each.
  let count = 0
  for (const { place, lists } of sources) {
    for (const [i, item] of (lists[list] ?? []).entries()) {
      count++
      const id = String((item as Record<string, unknown>)[key] ?? `arr_${count}`)
      problems.attempt(() => {
        if (items.has(id)) {
          throw new FST_WASM_OPTIONS_INVALID(`${place}${list}[${i}].${key}: there is another one named "${id}"`)
        }
      })
      items.set(id, key in item ? (item as Item) : ({ ...item, [key]: id } as Item))
    }
  }
  return items
}

function check(resources: Resources, problems: Problems): void {
  for (const plugin of resources.plugins.values()) problems.attempt(() => checkPlugin(plugin, resources))
  for (const kind of ['upstreams', 'services', 'plugin_configs', 'global_rules', 'routes'] as const) {
    for (const id of resources[kind].keys()) problems.attempt(() => checkResource(resources, kind, id))
  }
}

function checkPlugin(plugin: PluginDeclaration, { upstreams }: Resources): void {
  const { name, file, module, conf, hosts = [] } = plugin
  // Such keys of an object are not to be told from what every object has.
  if (name in {}) throw new FST_WASM_OPTIONS_INVALID(`plugins.${name}: a plugin cannot have this name`)
  if ((file === undefined) === (module === undefined)) {
    throw new FST_WASM_OPTIONS_INVALID(`plugins.${name}: exactly one of file and module is required`)
  }
  if (conf !== undefined) configurationOf({ conf }, `plugins.${name}`, plugin)
  checkHosts(hosts, `plugins.${name}.hosts`, (id) => upstreams.has(id))
}

/** Is told of a reference to what is not there. */
type OnMissing = (error: WasmError) => void

/** Checks one object against all others. */
export function checkResource(resources: Resources, kind: ResourceKind, id: string, missing?: OnMissing): void {
  const place = `${kind}.${id}`
  if (kind === 'upstreams') {
    checkUpstream(resources.upstreams.get(id)!, place)
    return
  }
  const problems = new Problems()
  problems.attempt(() => checkReferences(resources, resources[kind].get(id)!, place, missing))
  if (kind === 'routes') {
    const route = resources.routes.get(id)!
    problems.attempt(() => conditionsOf(route, referencesOf(resources, route).service, place))
  }
  problems.throw()
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

/** Whether an object refers to what is not there. */
export function isDangling(resources: Resources, object: object): boolean {
  let dangling = false
  checkReferences(resources, object, '', () => {
    dangling = true
  })
  return dangling
}

/**
 * Checks the plugins and the references of a route, a service or whatever else has some of them.
 *
 * @param place where it stands, for the error
 * @param missing is told of references to what is not there; without it that is an error
 * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_PLUGIN_UNKNOWN, FST_WASM_REFERENCE_UNKNOWN
 */
export function checkReferences(
  resources: Resources,
  owner: Partial<Pick<Service, 'plugins' | 'upstream' | 'upstream_id'>> & {
    plugin_config_id?: string | number
    service_id?: string | number
  },
  place: string,
  missing: OnMissing = raise
): void {
  const problems = new Problems()
  for (const [name, entry] of Object.entries(owner.plugins ?? {})) {
    problems.attempt(() => checkEntry(resources, name, entry, `${place}.plugins.${name}`))
  }
  problems.attempt(() => {
    if (owner.upstream === undefined) return
    if (owner.upstream_id !== undefined) {
      throw new FST_WASM_OPTIONS_INVALID(`${place}: only one of upstream and upstream_id is allowed`)
    }
    checkUpstream(owner.upstream, `${place}.upstream`)
  })
  const find = (items: ReadonlyMap<string, object>, id: string | number | undefined, key: string, kind: string) => {
    if (id === undefined || items.has(String(id))) return
    problems.attempt(() => missing(new FST_WASM_REFERENCE_UNKNOWN(`${place}.${key}`, kind, String(id))))
  }
  find(resources.upstreams, owner.upstream_id, 'upstream_id', 'upstream')
  find(resources.plugin_configs, owner.plugin_config_id, 'plugin_config_id', 'plugin_config')
  find(resources.services, owner.service_id, 'service_id', 'service')
  problems.throw()
}

function checkEntry(resources: Resources, name: string, entry: PluginEntry, place: string): void {
  const declaration = resources.plugins.get(name)
  if (declaration === undefined) {
    throw new FST_WASM_PLUGIN_UNKNOWN(place, name, [...resources.plugins.keys()].join(', ') || 'none')
  }
  const problems = new Problems()
  // What is switched off need not be right, as in APISIX.
  if (entry._meta?.disable !== true) problems.attempt(() => configurationOf(entry, place, declaration))
  const isEntry = problems.attempt(() => validate(PluginEntry, entry, place))
  const { filter } = (isEntry && entry._meta) || {}
  if (filter !== undefined) problems.attempt(() => compileVars(filter, `${place}._meta.filter`))
  problems.throw()
}

function raise(error: WasmError): never {
  throw error
}
