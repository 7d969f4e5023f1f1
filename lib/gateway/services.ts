import type { ConfigFileContent } from '../config/file.ts'
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
 * Finds the Admin API's options and the store's, in the options or else in the files.
 *
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function servicesOf(options: Options, files: readonly ConfigFileContent[]): Services {
  let { admin, store } = options
  const ignored = new Set<string>()
  for (const file of files) {
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
