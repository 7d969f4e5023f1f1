import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { planRoute } from '../config/plan.ts'
import { checkOptions, foreignFunctionsOf, loadResources } from '../config/resources.ts'
import type { ForeignFunction, PluginDeclaration } from '../config/schema.ts'
import { validate } from '../config/validate.ts'
import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { loadPlugins } from '../gateway/plugins.ts'
import { Filter, foreignFunctionsWith, type Module } from '../host/index.ts'
import { Chain, type Member } from './chain.ts'
import { LoadedFilter } from './filter-view.ts'
import { type GrpcUpstream, GrpcUpstreams } from './grpc-upstreams.ts'
import { HttpUpstreams, type Upstream } from './http-upstreams.ts'
import { Fakes } from './schema.ts'

/** What is around the filters. */
export interface Surroundings {
  /** What their http calls reach, by the name that they call: an upstream's id, `host:port`, or `*` for all other names. */
  readonly upstreams?: Readonly<Record<string, Upstream>>
  /** The same for their gRPC calls */
  readonly grpc_upstreams?: Readonly<Record<string, GrpcUpstream>>
  /** What they may call by name: bytes in, bytes or nothing out */
  readonly foreign_functions?: Readonly<Record<string, ForeignFunction>>
  /** What the clock shows at first, milliseconds since the epoch if it is a number. By default the time that it is */
  readonly now?: Date | number
}

/** Declares a filter as `plugins` of the gateway do; `conf` is what a route would configure it with. */
export type FilterOptions = Surroundings &
  Partial<Omit<PluginDeclaration, 'file' | 'module' | 'priority' | 'http_request_phase'>>

/** A filter of a chain. */
export type ChainMember = Omit<PluginDeclaration, 'file'> & { readonly file?: string | URL }

const SURROUNDINGS = ['upstreams', 'grpc_upstreams', 'foreign_functions', 'now'] as const

/** Compiled modules, for all tests of a process. */
const modules = new Map<string, Promise<Module>>()

/**
 * Loads a filter, and starts it with its configuration.
 *
 * @param module the path of a `.wasm` file (relative to the working directory), its URL, or its bytes
 * @throws FST_WASM_FILE_UNREADABLE, FST_WASM_MODULE_INVALID, FST_WASM_ABI_UNKNOWN, FST_WASM_OPTIONS_INVALID;
 *   FST_WASM_START_FAILED, FST_WASM_TRAP, FST_WASM_CONFIGURE_FAILED with what the filter has logged
 */
export async function loadFilter(
  module: string | URL | Uint8Array,
  options: FilterOptions = {}
): Promise<LoadedFilter> {
  const [surroundings, declaration] = split(options)
  const name = declaration.name ?? (module instanceof Uint8Array ? 'filter' : basename(String(module), '.wasm'))
  const source = module instanceof Uint8Array ? { module } : { file: module }
  const { chain, members } = await load([{ ...declaration, name, ...source }], surroundings)
  const { sharedData, queues } = chain.shared
  return new LoadedFilter(chain, { name, vmId: members[0]!.vmId, sharedData, queues })
}

/**
 * Loads filters that run one after the other, and starts them: requests pass those of the rewrite phase and then those of
 * access, each by priority, high to low; responses pass all of them by priority alone.
 *
 * @param filters as `plugins` of the gateway declare them, each with the `conf` that a route would configure it with
 * @throws as `loadFilter`
 */
export async function loadChain(filters: readonly ChainMember[], surroundings: Surroundings = {}): Promise<Chain> {
  const [given, others] = split(surroundings)
  const unknown = Object.keys(others)
  if (unknown.length > 0) throw new FST_WASM_OPTIONS_INVALID(`${unknown[0]}: is no known key`)
  return (await load(filters, given)).chain
}

async function load(
  filters: readonly ChainMember[],
  surroundings: Surroundings
): Promise<{ chain: Chain; members: readonly Member[] }> {
  const { upstreams = {}, grpc_upstreams = {}, foreign_functions = {}, now = Date.now() } = surroundings
  validate(Fakes, upstreams, 'upstreams')
  validate(Fakes, grpc_upstreams, 'grpc_upstreams')
  if (!Number.isFinite(Number(now))) throw new FST_WASM_OPTIONS_INVALID('now: must be a Date, or milliseconds')
  const chain = new Chain(Number(now))
  const plugins = filters.map(({ conf: _, file, ...declaration }) => ({
    ...declaration,
    ...(file !== undefined && { file: pathOf(file) })
  }))
  const options = checkOptions({ plugins, foreign_functions })
  const resources = loadResources(options, [])
  const foreignFunctions = foreignFunctionsWith(foreignFunctionsOf(options))
  const entries = filters.map(({ name, conf }) => [name, conf === undefined ? {} : { conf }])
  const planned = planRoute(resources, { plugins: Object.fromEntries(entries) }, 'test').filters
  const members: Member[] = []
  for (const { plugin: name, ...rest } of planned) {
    const declaration = resources.plugins.get(name)!
    const vmId = declaration.vm_id ?? ''
    const recorder = chain.recorder(name)
    const shared = {
      ...chain.shared,
      metrics: chain.metricsOf(vmId),
      foreignFunctions,
      httpCalls: new HttpUpstreams(upstreams, recorder),
      grpcCalls: new GrpcUpstreams(grpc_upstreams, recorder)
    }
    const plugin = (await loadPlugins([declaration], shared, { modules })).get(name)!
    plugin.failsOpen = declaration.fail === 'open'
    const filter = new Filter(plugin, rest.configuration)
    members.push({ name, vmId, placed: { planned: { plugin: name, ...rest }, filter, declaration } })
  }
  await chain.start(members)
  return { chain, members }
}

function split(options: FilterOptions): [Surroundings, Omit<FilterOptions, keyof Surroundings>] {
  const entries = Object.entries(options)
  const isSurrounding = ([key]: [string, unknown]) => (SURROUNDINGS as readonly string[]).includes(key)
  return [
    Object.fromEntries(entries.filter(isSurrounding)),
    Object.fromEntries(entries.filter((entry) => !isSurrounding(entry)))
  ]
}

function pathOf(file: string | URL): string {
  return file instanceof URL || file.startsWith('file:') ? fileURLToPath(file) : file
}
