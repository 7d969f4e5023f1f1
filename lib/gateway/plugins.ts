import { readFile } from 'node:fs/promises'
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
 * Reads and compiles the modules of all declared plugins, side by side, each module once.
 *
 * @throws FST_WASM_FILE_UNREADABLE, FST_WASM_MODULE_INVALID, FST_WASM_ABI_UNKNOWN
 */
export async function loadPlugins(
  declarations: Iterable<PluginDeclaration>,
  shared: SharedSettings
): Promise<Map<string, Plugin>> {
  const modules = new Map<string, Promise<Module>>()
  const load = async (declaration: PluginDeclaration): Promise<[string, Plugin]> => {
    const { name, vm_conf } = declaration
    const bytes = declaration.module ?? (await read(declaration))
    const digest = digestOf(bytes)
    let module = modules.get(digest)
    if (module === undefined) {
      module = loadModule(name, bytes)
      modules.set(digest, module)
    }
    const plugin = new Plugin(await module, {
      name,
      semantics: declaration.semantics ?? 'apisix',
      vmId: declaration.vm_id ?? '',
      rootId: declaration.root_id ?? '',
      vmConfiguration: serialize(vm_conf ?? '', `plugins.${name}.vm_conf`),
      environment: declaration.env ?? {},
      ...shared
    })
    return [name, plugin]
  }
  return new Map(await Promise.all([...declarations].map(load)))
}

async function read({ name, file }: PluginDeclaration): Promise<Uint8Array> {
  try {
    return await readFile(file!)
  } catch (error) {
    throw new FST_WASM_FILE_UNREADABLE(name, file!, (error as Error).message, { cause: error as Error })
  }
}
