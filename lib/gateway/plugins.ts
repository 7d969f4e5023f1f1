import { readFile } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import type { PluginDeclaration } from '../config/schema.ts'
import { serialize } from '../config/validate.ts'
import { FST_WASM_FILE_UNREADABLE } from '../errors.ts'
import { digestOf, loadModule, type Module, Plugin, type PluginSettings } from '../host/index.ts'

/** What all plugins of a gateway share. */
export type SharedSettings = Pick<
  PluginSettings,
  'log' | 'httpCalls' | 'grpcCalls' | 'sharedData' | 'queues' | 'metrics' | 'foreignFunctions'
>

/**
 * Reads and compiles the modules of all declared plugins, side by side, each module once. A plugin of before stays, with its
 * instance, when neither its module (by digest) nor what its instance was made with has changed.
 *
 * @throws FST_WASM_FILE_UNREADABLE, FST_WASM_MODULE_INVALID, FST_WASM_ABI_UNKNOWN
 */
export async function loadPlugins(
  declarations: Iterable<PluginDeclaration>,
  shared: SharedSettings,
  before: ReadonlyMap<string, Plugin> = new Map()
): Promise<Map<string, Plugin>> {
  const modules = new Map<string, Promise<Module>>()
  for (const { module } of before.values()) modules.set(module.digest, Promise.resolve(module))
  const load = async (declaration: PluginDeclaration): Promise<[string, Plugin]> => {
    const { name } = declaration
    const bytes = declaration.module ?? (await read(declaration))
    const digest = digestOf(bytes)
    const settings = { ...settingsOf(declaration), ...shared }
    const previous = before.get(name)
    if (previous?.module.digest === digest && hasSettings(previous, settings)) return [name, previous]
    let module = modules.get(digest)
    if (module === undefined) {
      module = loadModule(name, bytes)
      modules.set(digest, module)
    }
    return [name, new Plugin(await module, settings)]
  }
  return new Map(await Promise.all([...declarations].map(load)))
}

function settingsOf(declaration: PluginDeclaration): Omit<PluginSettings, keyof SharedSettings> {
  const { name, vm_conf } = declaration
  return {
    name,
    semantics: declaration.semantics ?? 'apisix',
    vmId: declaration.vm_id ?? '',
    rootId: declaration.root_id ?? '',
    vmConfiguration: serialize(vm_conf ?? '', `plugins.${name}.vm_conf`),
    environment: declaration.env ?? {}
  }
}

function hasSettings({ settings }: Plugin, wanted: PluginSettings): boolean {
  return (
    settings.semantics === wanted.semantics &&
    settings.vmId === wanted.vmId &&
    settings.rootId === wanted.rootId &&
    settings.vmConfiguration.equals(wanted.vmConfiguration) &&
    isDeepStrictEqual(settings.environment, wanted.environment)
  )
}

async function read({ name, file }: PluginDeclaration): Promise<Uint8Array> {
  try {
    return await readFile(file!)
  } catch (error) {
    throw new FST_WASM_FILE_UNREADABLE(name, file!, (error as Error).message, { cause: error as Error })
  }
}
