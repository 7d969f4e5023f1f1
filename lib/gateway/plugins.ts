import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { Problems } from '../config/resources.ts'
import type { PluginDeclaration } from '../config/schema.ts'
import { serialize } from '../config/validate.ts'
import { FST_WASM_DIGEST_MISMATCH, FST_WASM_FILE_UNREADABLE } from '../errors.ts'
import {
  type AllowedFunctions,
  allowOnly,
  DEFAULT_LIMITS,
  DEFAULT_MODULE_LIMITS,
  digestOf,
  type GrpcClient,
  type HttpCallClient,
  loadModule,
  type Module,
  type ModuleLimits,
  type Observer,
  Plugin,
  type PluginCounts,
  type PluginSettings,
  type TickLease,
  UseReport
} from '../host/index.ts'
import { leaderWithoutRedis } from './services.ts'
import { CallHosts } from './upstream/call-hosts.ts'

const MIB = 1024 * 1024

/** Makes calls anywhere, or those of a plugin that may reach some hosts only. */
type Restrictable<Client> = Client & { within(hosts: CallHosts): Client }

/** What all plugins of a gateway share. */
export interface SharedSettings
  extends Pick<
    PluginSettings,
    'log' | 'sharedData' | 'queues' | 'metrics' | 'foreignFunctions' | 'clock' | 'observer'
  > {
  readonly httpCalls: Restrictable<HttpCallClient>
  readonly grpcCalls: Restrictable<GrpcClient>
  /** Where is counted what happens in a plugin; absent: nowhere */
  readonly countsOf?: (plugin: string) => PluginCounts
  readonly observer?: Observer | undefined
  /** Finds leaders; absent: there is nothing that could. */
  readonly leases?: { of(plugin: string): TickLease } | undefined
}

/** What a plugin's declaration says of its instances. */
export interface DeclaredSettings extends Omit<PluginSettings, keyof SharedSettings | 'counts' | 'tickLease'> {
  readonly tick: 'each' | 'leader'
  /** What its calls may reach; `undefined`: anything. */
  readonly hosts: CallHosts | undefined
}

/** What there is when plugins are loaded, and who wants to know how far it is. */
export interface Loading {
  /** Plugins that may stay */
  readonly before?: ReadonlyMap<string, Plugin> | undefined
  /** Modules that are compiled already, by what tells them apart; those that are compiled are added */
  readonly modules?: Map<string, Promise<Module>>
  /** Is told each time that a plugin is ready. */
  readonly onReady?: (ready: number, of: number) => void
}

/**
 * Reads and compiles the modules of all declared plugins, side by side, each module once. A plugin of before stays, with its
 * instance, when neither its module (by digest) nor what its instance was made with has changed.
 *
 * @throws FST_WASM_FILE_UNREADABLE, FST_WASM_DIGEST_MISMATCH, FST_WASM_MODULE_INVALID, FST_WASM_ABI_UNKNOWN;
 *   FST_WASM_OPTIONS_INVALID, also with several of them
 */
export async function loadPlugins(
  declarations: Iterable<PluginDeclaration>,
  shared: SharedSettings,
  { before = new Map(), modules = new Map(), onReady }: Loading = {}
): Promise<Map<string, Plugin>> {
  for (const { module } of before.values()) modules.set(keyOf(module.digest, module.limits), Promise.resolve(module))
  const load = async (declaration: PluginDeclaration): Promise<[string, Plugin]> => {
    const { name, file } = declaration
    const bytes = declaration.module ?? (await read(declaration))
    const digest = digestOf(bytes)
    checkDigest(declaration, digest)
    const limits = moduleLimitsOf(declaration)
    const key = keyOf(digest, limits)
    const settings = settingsWith(settingsOf(declaration), shared)
    const previous = before.get(name)
    const isSame = previous !== undefined && keyOf(previous.module.digest, previous.module.limits) === key
    if (isSame && hasSettings(previous, settings)) return [name, previous]
    let module = modules.get(key)
    if (module === undefined) {
      module = loadModule(name, bytes, limits, file && resolve(file))
      modules.set(key, module)
    }
    return [name, new Plugin(await module, settings)]
  }
  const problems = new Problems()
  const plugins = new Map<string, Plugin>()
  const loading = [...declarations].map(load)
  let ready = 0
  for (const plugin of loading) plugin.then(() => onReady?.(++ready, loading.length)).catch(() => {})
  for (const result of await Promise.allSettled(loading)) {
    problems.attempt(() => {
      if (result.status === 'rejected') throw result.reason
      plugins.set(...result.value)
    })
  }
  problems.throw()
  return plugins
}

/** Tells compiled modules apart. */
function keyOf(digest: string, { stoppable, memoryMib }: ModuleLimits): string {
  return `${digest} ${stoppable} ${memoryMib}`
}

function moduleLimitsOf({ limits }: PluginDeclaration): ModuleLimits {
  const { memoryMib } = DEFAULT_MODULE_LIMITS
  return { stoppable: limits?.call_ms !== 0, memoryMib: limits?.memory_mib ?? memoryMib }
}

/** The settings of a plugin, with its part of what all share. */
export function settingsWith(declared: DeclaredSettings, shared: SharedSettings): PluginSettings & DeclaredSettings {
  const { hosts, name, tick } = declared
  const { countsOf, leases, ...common } = shared
  if (tick === 'leader' && leases === undefined) throw leaderWithoutRedis(name)
  const settings = {
    ...declared,
    ...common,
    ...(countsOf !== undefined && { counts: countsOf(name) }),
    tickLease: tick === 'leader' ? leases?.of(name) : undefined
  }
  if (hosts === undefined) return settings
  return { ...settings, httpCalls: shared.httpCalls.within(hosts), grpcCalls: shared.grpcCalls.within(hosts) }
}

function settingsOf(declaration: PluginDeclaration): DeclaredSettings {
  const { name, vm_conf, limits, hosts } = declaration
  return {
    name,
    semantics: declaration.semantics ?? 'apisix',
    tick: declaration.tick ?? 'each',
    vmId: declaration.vm_id ?? '',
    rootId: declaration.root_id ?? '',
    vmConfiguration: serialize(vm_conf ?? '', `plugins.${name}.vm_conf`),
    environment: declaration.env ?? {},
    limits: {
      callMs: limits?.call_ms ?? DEFAULT_LIMITS.callMs,
      startMs: limits?.start_ms ?? DEFAULT_LIMITS.startMs,
      httpCalls: limits?.http_calls ?? DEFAULT_LIMITS.httpCalls,
      bodyBytes: limits?.body_mib === undefined ? DEFAULT_LIMITS.bodyBytes : Math.ceil(limits.body_mib * MIB),
      logLines: limits?.log_lines ?? DEFAULT_LIMITS.logLines
    },
    allow: allowOf(declaration),
    hosts: hosts && new CallHosts(name, hosts)
  }
}

function allowOf({ name, allow }: PluginDeclaration): AllowedFunctions | undefined {
  if (Array.isArray(allow)) return allowOnly(allow, `plugins.${name}.allow`)
  return allow?.report === true ? new UseReport() : undefined
}

function hasSettings(plugin: Plugin, wanted: DeclaredSettings): boolean {
  const settings = plugin.settings as PluginSettings & DeclaredSettings
  return (
    settings.semantics === wanted.semantics &&
    settings.tick === wanted.tick &&
    settings.vmId === wanted.vmId &&
    settings.rootId === wanted.rootId &&
    settings.vmConfiguration.equals(wanted.vmConfiguration) &&
    isDeepStrictEqual(settings.environment, wanted.environment) &&
    isDeepStrictEqual(settings.limits, wanted.limits) &&
    // Sets by what is in them; reports among each other are the same, whatever they have seen.
    isDeepStrictEqual(settings.allow, wanted.allow) &&
    isDeepStrictEqual(settings.hosts?.list, wanted.hosts?.list)
  )
}

function checkDigest({ name, file, sha256 }: PluginDeclaration, digest: string): void {
  if (sha256 === undefined || sha256.toLowerCase() === digest) return
  throw new FST_WASM_DIGEST_MISMATCH(name, file ?? 'given in code', digest, sha256.toLowerCase())
}

async function read({ name, file }: PluginDeclaration): Promise<Uint8Array> {
  try {
    return await readFile(file!)
  } catch (error) {
    throw new FST_WASM_FILE_UNREADABLE(name, resolve(file!), (error as Error).message, { cause: error as Error })
  }
}
