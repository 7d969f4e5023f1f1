import { readConfigFile } from '../config/file.ts'
import { configFilesOf } from '../config/resources.ts'
import type { Admin, Options } from '../config/schema.ts'
import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { FileResourceStore } from '../stores/file-resource-store.ts'
import { MemoryResourceStore } from '../stores/memory-resource-store.ts'
import type { ResourceStore } from '../stores/resource-store.ts'

/** What a gateway has beside its filters. It is made once, and no reload changes it. */
export interface Services {
  readonly admin: Admin | undefined
  readonly store: ResourceStore
  /** Sections of the files that are APISIX's alone. */
  readonly ignored: readonly string[]
}

/**
 * Reads the Admin API's options and the store's, in the options or else in the files.
 *
 * @throws FST_WASM_OPTIONS_INVALID, FST_WASM_CONFIG_UNREADABLE
 */
export async function readServices(options: Options): Promise<Services> {
  let { admin, store } = options
  const ignored = new Set<string>()
  for (const path of configFilesOf(options)) {
    const file = await readConfigFile(path)
    admin ??= file.admin
    store ??= file.store
    for (const section of file.ignored) ignored.add(section)
  }
  if (admin === undefined && store !== undefined) {
    throw new FST_WASM_OPTIONS_INVALID('store: there is no admin, which alone would write to it')
  }
  return {
    admin,
    store: store === undefined ? new MemoryResourceStore() : new FileResourceStore(store.file),
    ignored: [...ignored]
  }
}
