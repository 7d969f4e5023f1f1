import { readFile } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import { Problems } from '../config/resources.ts'
import type { PluginDeclaration } from '../config/schema.ts'
import { serialize } from '../config/validate.ts'
import { FST_WASM_FILE_UNREADABLE } from '../errors.ts'
import {
  DEFAULT_LIMITS,
  DEFAULT_MODULE_LIMITS,
  digestOf,
  loadModule,
  type Module,
  type ModuleLimits,
  Plugin,
  type PluginSettings
} from '../host/index.ts'

/** What all plugins of a gateway share. */
export type SharedSettings = Pick<
  PluginSettings,
  'log' | 'httpCalls' | 'grpcCalls' | 'sharedData' | 'queues' | 'metrics' | 'foreignFunctions'
>

/**
 * Reads and compiles the modules of all declared plugins, side by side, each module once. A plugin of before stays, with its
 * instance, when neither its module (by digest) nor what its instance was made with has changed.
 *
 * @throws FST_WASM_FILE_UNREADABLE, FST_WASM_MODULE_INVALID, FST_WASM_ABI_UNKNOWN; FST_WASM_OPTIONS_INVALID with several
 */
export async function loadPlugins(
  declarations: Iterable<PluginDeclaration>,
  shared: SharedSettings,
  before: ReadonlyMap<string, Plugin> = new Map()
): Promise<Map<string, Plugin>> {
  const modules = new Map<string, Promise<Module>>()
  for (const { module } of before.values()) modules.set(keyOf(module.digest, module.limits), Promise.resolve(module))
  const load = async (declaration: PluginDeclaration): Promise<[string, Plugin]> => {
    const { name } = declaration
    const bytes = declaration.module ?? (await read(declaration))
    const digest = digestOf(bytes)
    const limits = moduleLimitsOf(declaration)
    const key = keyOf(digest, limits)
    const settings = { ...settingsOf(declaration), ...shared }
    const previous = before.get(name)
    const isSame = previous !== undefined && keyOf(previous.module.digest, previous.module.limits) === key
    if (isSame && hasSettings(previous, settings)) return [name, previous]
    let module = modules.get(key)
    if (module === undefined) {
      module = loadModule(name, bytes, limits)
      modules.set(key, module)
    }
    return [name, new Plugin(await module, settings)]
  }
  const problems = new Problems()
  const plugins = new Map<string, Plugin>()
  for (const result of await Promise.allSettled([...declarations].map(load))) {
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

function settingsOf(declaration: PluginDeclaration): Omit<PluginSettings, keyof SharedSettings> {
  const { name, vm_conf, limits } = declaration
  return {
    name,
    semantics: declaration.semantics ?? 'apisix',
    vmId: declaration.vm_id ?? '',
    rootId: declaration.root_id ?? '',
    vmConfiguration: serialize(vm_conf ?? '', `plugins.${name}.vm_conf`),
    environment: declaration.env ?? {},
    limits: {
      callMs: limits?.call_ms ?? DEFAULT_LIMITS.callMs,
      startMs: limits?.start_ms ?? DEFAULT_LIMITS.startMs
    }
  }
}

function hasSettings({ settings }: Plugin, wanted: PluginSettings): boolean {
  return (
    settings.semantics === wanted.semantics &&
    settings.vmId === wanted.vmId &&
    settings.rootId === wanted.rootId &&
    settings.vmConfiguration.equals(wanted.vmConfiguration) &&
    isDeepStrictEqual(settings.environment, wanted.environment) &&
    isDeepStrictEqual(settings.limits, wanted.limits)
  )
}

async function read({ name, file }: PluginDeclaration): Promise<Uint8Array> {
  try {
    return await readFile(file!)
  } catch (error) {
    throw new FST_WASM_FILE_UNREADABLE(name, file!, (error as Error).message, { cause: error as Error })
  }
}
