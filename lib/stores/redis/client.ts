import { Cluster, type CommonRedisOptions, Redis, type RedisOptions } from 'ioredis'
import type { RedisSettings } from './settings.ts'

export type Client = Redis | Cluster

/** Milliseconds to wait before connecting again. */
const MAX_RETRY_MS = 200
/** Milliseconds that a socket which is to be closed may take for that: one whose other end is gone never does. */
const DISCONNECT_MS = 100

/** Milliseconds between two looks at whether Redis has loaded its data: it says itself when that will be, and may be wrong. */
const LOADING_MS = 500
/** Milliseconds between two looks at which node of a cluster has what. */
const SLOTS_MS = 1000

/** Milliseconds that what was the master, and is no more, is kept to before another one is looked for once more. */
const SEEK_MS = 1000

/** A script that Redis runs, and what it is called by. */
export interface Script {
  readonly name: string
  readonly lua: string
}

/**
 * Makes a client that connects by itself, again and again. A command that cannot be sent at once fails, and so does one whose
 * connection is lost before its answer: nothing is sent twice.
 *
 * @param silenceMs how long an answer may take before the connection is given up
 * @param onSeek is called when it is going to close the connection, since there should be another master
 */
export function createClient(
  settings: RedisSettings,
  scripts: readonly Script[],
  silenceMs: number,
  onSeek: () => void = () => {}
): Client {
  const { cluster } = settings
  let soughtAt = Number.NEGATIVE_INFINITY
  const options: CommonRedisOptions = {
    connectTimeout: 2000,
    // Only in the older protocol does ioredis pass on what Redis says of changed keys.
    protocol: 2,
    lazyConnect: true,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    socketTimeout: silenceMs,
    disableClientInfo: true,
    maxLoadingRetryTime: LOADING_MS,
    reconnectOnError: (error) => {
      const now = performance.now()
      // There may be none yet, or none at all.
      if (!error.message.startsWith('READONLY') || now - soughtAt < SEEK_MS) return false
      soughtAt = now
      onSeek()
      return true
    },
    ...({ disconnectTimeout: DISCONNECT_MS } as object)
  }
  const client = cluster === undefined ? single(settings, options) : clustered(settings, cluster, options)
  client.on('error', (error: Error & { command?: { name: string } }) => {
    // ioredis would go on, in the database 0.
    if (error.command?.name === 'select') client.disconnect(true)
  })
  for (const { name, lua } of scripts) client.defineCommand(name, { lua, numberOfKeys: 1 })
  return client
}

function single({ url, options }: RedisSettings, own: CommonRedisOptions): Redis {
  const strategies = { enableOfflineQueue: false, retryStrategy: delayOf, sentinelRetryStrategy: delayOf }
  const all = { ...own, ...strategies, ...options } as RedisOptions
  // What comes first stands above the rest.
  return url === undefined ? new Redis(all as never) : new Redis(all as never, url as never)
}

function clustered(
  { url, options }: RedisSettings,
  nodes: NonNullable<RedisSettings['cluster']>,
  own: CommonRedisOptions
): Cluster {
  const { natMap, ...rest } = options
  const redisOptions = { ...own, ...fromUrl(url), ...rest }
  const all = {
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: delayOf,
    // Without these it would send again what may be done, and look for the nodes only when it does.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    slotsRefreshInterval: SLOTS_MS,
    redisOptions,
    ...(natMap !== undefined && { natMap })
  }
  return new Cluster([...nodes], all as never)
}

function delayOf(attempts: number): number {
  return Math.min(attempts * 20, MAX_RETRY_MS)
}

/** What the address of a cluster says beside the host. */
function fromUrl(url: string | undefined): RedisOptions {
  if (url === undefined) return {}
  const { protocol, username, password } = new URL(url)
  return {
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
    ...(protocol === 'rediss:' && { tls: {} })
  }
}

/** Runs a script on one key; answers are bytes, numbers and lists of them. */
export function run<Result>(
  client: Client,
  script: Script,
  key: string | Buffer,
  ...values: (string | number | Buffer)[]
): Promise<Result> {
  type Run = (key: string | Buffer, ...values: (string | number | Buffer)[]) => Promise<Result>
  return (client as unknown as Record<string, Run>)[`${script.name}Buffer`]!(key, ...values)
}

/** Ends a client for good. */
export function end(client: Client): void {
  // ioredis hears one error of a socket, and a TLS that is given up before it stands makes two.
  for (const { stream } of client instanceof Cluster ? client.nodes() : [client]) stream?.on('error', () => {})
  client.disconnect()
}

/** Whether Redis itself has answered with an error: then nothing was done. */
export function isRefusal(error: Error): boolean {
  return error.name === 'ReplyError'
}
