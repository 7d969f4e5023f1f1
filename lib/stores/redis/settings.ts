import type { RedisOptions } from 'ioredis'

/** Where Redis is, and what is kept in it: what a worker thread can be handed. */
export interface RedisSettings {
  /** `redis://` or `rediss://`; what `options` say stands above it */
  readonly url: string | undefined
  readonly options: Readonly<RedisOptions>
  /** The nodes of a cluster that are asked first; `undefined`: it is none */
  readonly cluster: readonly { readonly host: string; readonly port: number }[] | undefined
  /** What every key and channel begins with */
  readonly prefix: string
  /** Milliseconds that a filter waits at most */
  readonly timeoutMs: number
  /** Milliseconds that shared data is kept after it was set, by `vm_id`; of the others for ever */
  readonly ttlMs: Readonly<Record<string, number>>
}

/** What the connections to Redis log. */
export interface StoreLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** A text that a gateway's parts are told apart by in Redis, of two whatever is in them. */
export function scopeOf(vmId: string): string {
  return `${Buffer.byteLength(vmId)}:${vmId}:`
}
