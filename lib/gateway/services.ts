import type { ConfigFileContent } from '../config/file.ts'
import { redisSettingsOf } from '../config/redis.ts'
import type { Admin, Inspector, MetricsOptions, Options, Store } from '../config/schema.ts'
import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import type { RedisSettings } from '../stores/redis/settings.ts'

/** What a gateway has beside its filters. It is made once, and no reload changes it. */
export interface Services {
  readonly admin: Admin | undefined
  /** Where what the Admin API writes is kept, if not in memory */
  readonly store: Store | undefined
  readonly redis: RedisSettings | undefined
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
  let { admin, store, redis, metrics, inspector } = options
  const ignored = new Set<string>()
  for (const file of files) {
    admin ??= file.admin
    store ??= file.store
    redis ??= file.redis
    metrics ??= file.metrics
    inspector ??= file.inspector
    for (const section of file.ignored) ignored.add(section)
  }
  if (store !== undefined) checkStore(store, admin !== undefined, redis !== undefined)
  if (redis === undefined) {
    for (const { plugins = [] } of [options, ...files]) {
      for (const { name, tick } of plugins) if (tick === 'leader') throw leaderWithoutRedis(name)
    }
  }
  return {
    admin,
    store,
    redis: redis === undefined ? undefined : redisSettingsOf(redis),
    metrics,
    inspector: inspector && inspectorOf(inspector, admin),
    ignored: [...ignored]
  }
}

/** Nobody could say which process is the leader. */
export function leaderWithoutRedis(plugin: string): Error {
  return new FST_WASM_OPTIONS_INVALID(`plugins.${plugin}.tick: a leader is found by Redis, and there is no \`redis\``)
}

function checkStore(store: Store, hasAdmin: boolean, hasRedis: boolean): void {
  if ((store.file === undefined) === (store.redis === undefined)) {
    throw new FST_WASM_OPTIONS_INVALID('store: exactly one of file and redis is required')
  }
  if (store.redis === true && !hasRedis) {
    throw new FST_WASM_OPTIONS_INVALID('store.redis: there is no `redis` that says where it is')
  }
  // What is in Redis others may write.
  if (store.file !== undefined && !hasAdmin) {
    throw new FST_WASM_OPTIONS_INVALID('store: there is no admin, which alone would write to it')
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
