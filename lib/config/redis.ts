import type { RedisOptions } from 'ioredis'
import { FST_WASM_OPTIONS_INVALID } from '../errors.ts'
import type { RedisSettings } from '../stores/redis/settings.ts'
import type { Redis } from './schema.ts'

const DEFAULT_TIMEOUT_MS = 50
const DEFAULT_PREFIX = 'wasm:'
const DEFAULT_PORT = 6379

/**
 * What the option `redis` says. No error tells what stands in a URL: it may be a password.
 *
 * @throws FST_WASM_OPTIONS_INVALID
 */
export function redisSettingsOf(redis: Redis): RedisSettings {
  const {
    url,
    cluster,
    timeout_ms,
    keyPrefix,
    ttl = {},
    tls,
    ...options
  } = typeof redis === 'string' ? { url: redis } : redis
  if (url !== undefined) checkUrl(url)
  if (cluster !== undefined && options.sentinels !== undefined) {
    throw new FST_WASM_OPTIONS_INVALID('redis: only one of cluster and sentinels is allowed')
  }
  if (options.sentinels !== undefined && options.name === undefined) {
    throw new FST_WASM_OPTIONS_INVALID('redis.name: sentinels are asked for a master by its name, which is missing')
  }
  if (cluster !== undefined) {
    for (const key of ['host', 'port', 'path', 'db'] as const) {
      if (options[key] === undefined) continue
      throw new FST_WASM_OPTIONS_INVALID(`redis.${key}: a cluster is reached by its nodes, and has one database`)
    }
  }
  const settings: RedisSettings = {
    url,
    options: { ...options, ...(tls && { tls: tls === true ? {} : tls }) } as RedisOptions,
    cluster: cluster?.map(({ host, port = DEFAULT_PORT }) => ({ host, port })),
    prefix: keyPrefix ?? DEFAULT_PREFIX,
    timeoutMs: timeout_ms ?? DEFAULT_TIMEOUT_MS,
    ttlMs: Object.fromEntries(Object.entries(ttl).map(([vmId, seconds]) => [vmId, Math.ceil(seconds * 1000)]))
  }
  try {
    // As they go to the thread of the connection.
    structuredClone(settings)
  } catch (error) {
    const reason = 'has values that no other thread can be given (functions, for one)'
    throw new FST_WASM_OPTIONS_INVALID(`redis.tls ${reason}`, { cause: error as Error })
  }
  return settings
}

function checkUrl(url: string): void {
  let protocol = ''
  let search = ''
  try {
    ;({ protocol, search } = new URL(url))
  } catch {}
  if (search !== '') {
    // ioredis would take anything there for an option, also what the gateway decides itself.
    throw new FST_WASM_OPTIONS_INVALID('redis: an address ends before the ?; what is to follow are keys of an object')
  }
  if (protocol === 'redis:' || protocol === 'rediss:') return
  throw new FST_WASM_OPTIONS_INVALID('redis must be an address, redis://… or rediss://…, or an object with its parts')
}
