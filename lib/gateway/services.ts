import type { ConfigFileContent } from '../config/file.ts'
import type { Admin, Inspector, MetricsOptions, Options } from '../config/schema.ts'
import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import { FileResourceStore } from '../stores/file-resource-store.ts'
import { MemoryResourceStore } from '../stores/memory-resource-store.ts'
import type { ResourceStore } from '../stores/resource-store.ts'

/** What a gateway has beside its filters. It is made once, and no reload changes it. */
export interface Services {
  readonly admin: Admin | undefined
  readonly store: ResourceStore
  readonly metrics: MetricsOptions | undefined
  readonly inspector: InspectorServices | undefined
  /** Sections of the files that are APISIX's alone. */
  readonly ignored: readonly string[]
}

/** The inspector's options, with those that it has of the Admin API. */
export type InspectorServices = Pick<Inspector, 'path' | 'allow_admin'> & Pick<Admin, 'key'>

/**
 * Finds what there is to be beside the filters, in the options or else in the files.
 *
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function servicesOf(options: Options, files: readonly ConfigFileContent[]): Services {
  let { admin, store, metrics, inspector } = options
  const ignored = new Set<string>()
  for (const file of files) {
    admin ??= file.admin
    store ??= file.store
    metrics ??= file.metrics
    inspector ??= file.inspector
    for (const section of file.ignored) ignored.add(section)
  }
  if (admin === undefined && store !== undefined) {
    throw new FST_WASM_OPTIONS_INVALID('store: there is no admin, which alone would write to it')
  }
  return {
    admin,
    metrics,
    inspector: inspector && inspectorOf(inspector, admin),
    store: store === undefined ? new MemoryResourceStore() : new FileResourceStore(store.file),
    ignored: [...ignored]
  }
}

function inspectorOf(inspector: Inspector, admin: Admin | undefined): InspectorServices {
  const { path, key = admin?.key, allow_admin } = inspector
  if (key === undefined) {
    throw new FST_WASM_OPTIONS_INVALID('inspector: it has no key: there is neither inspector.key nor admin')
  }
  const addresses = allow_admin ?? admin?.allow_admin
  return { path, key, ...(addresses !== undefined && { allow_admin: addresses }) }
}
