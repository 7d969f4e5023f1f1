import { isIP } from 'node:net'
import { Agent, buildConnector, type Dispatcher, errors, Pool } from 'undici'
import type { Upstream } from './upstream.ts'

/** Errors of connections that never came about: no node has seen anything of the request. */
const beforeSending: WeakSet<Error> = new WeakSet()

/** Whether a request failed for want of a connection (refused, not found, not trusted, too slow to connect). */
export function failedToConnect(error: Error): boolean {
  return beforeSending.has(error)
}

const MAX_AGENTS = 256
/** APISIX's default */
const MAX_KEEP_ALIVE_MS = 60_000

type KeepalivePool = NonNullable<Upstream['keepalive']>

type Settle = (...result: Parameters<buildConnector.Callback>) => void

/** Undici's own timer, which also closes the socket that does not connect, fires up to a second late. */
function connectWithin(
  milliseconds: number,
  connect: buildConnector.connector,
  target: buildConnector.Options,
  callback: buildConnector.Callback
): void {
  let settled = false
  const settle: Settle = (...result) => {
    if (settled) {
      result[1]?.destroy()
      return
    }
    settled = true
    clearTimeout(timer)
    if (result[0] !== null) beforeSending.add(result[0])
    callback(...result)
  }
  const timer = setTimeout(() => settle(new errors.ConnectTimeoutError(), null), milliseconds)
  connect(target, settle)
}

/** The connections to upstream nodes: one agent for everything that shares connect timeout and TLS settings. */
export class Agents {
  readonly #agents: Map<string, Agent> = new Map()

  /**
   * @param connectTimeout milliseconds
   * @param serverName whom a certificate must be for; an address is verified as one
   */
  get(upstream: Upstream, connectTimeout: number, serverName: string | undefined): Agent {
    const key = `${connectTimeout} ${upstream.poolKey} ${serverName ?? ''}`
    let agent = this.#agents.get(key)
    if (agent === undefined) {
      agent = createAgent(upstream, connectTimeout, serverName)
      this.#agents.set(key, agent)
      this.#forgetOldest()
    }
    return agent
  }

  /** Filters may call names without end, made from what clients send. What is under way on an agent is finished. */
  #forgetOldest(): void {
    if (this.#agents.size <= MAX_AGENTS) return
    const [key, agent] = this.#agents.entries().next().value!
    this.#agents.delete(key)
    agent.close().catch(() => {})
  }

  async close(): Promise<void> {
    await Promise.all([...this.#agents.values()].map((agent) => agent.destroy()))
  }
}

function createAgent({ tls, keepalive }: Upstream, connectTimeout: number, serverName: string | undefined): Agent {
  const { verify, cert, key } = tls
  const connect = buildConnector({
    timeout: connectTimeout,
    rejectUnauthorized: verify,
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key })
  })
  // An address is no name that TLS could indicate.
  const servername = serverName === undefined || isIP(serverName) !== 0 ? undefined : serverName
  return new Agent({
    connect: (options, callback) => {
      const { servername: _, ...rest } = options
      const target = servername === undefined ? { ...rest, host: rest.hostname } : { ...rest, servername }
      connectWithin(connectTimeout, connect, target, callback)
    },
    // A server may offer to keep a connection for days.
    keepAliveMaxTimeout: MAX_KEEP_ALIVE_MS,
    ...(keepalive !== undefined && keptAlive(keepalive))
  })
}

/** Undici's options for a pool of kept connections, which it knows no size of: what is beyond that is closed after its use. */
function keptAlive({ size = 320, idle_timeout = 60, requests = 1000 }: KeepalivePool): Agent.Options {
  return {
    ...(idle_timeout > 0 && { keepAliveTimeout: idle_timeout * 1000, keepAliveMaxTimeout: idle_timeout * 1000 }),
    // Undici counts those before the one that is the last (7.30).
    maxRequestsPerClient: requests - 1,
    factory: (origin, options) => new SizedPool(origin, options, idle_timeout === 0 || requests === 1 ? 0 : size)
  }
}

class SizedPool extends Pool {
  readonly #size: number

  constructor(origin: string | URL, options: object, size: number) {
    super(origin, options)
    this.#size = size
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const { connected, size } = this.stats
    const isBeyond = Math.max(connected, size + 1) > this.#size
    return super.dispatch(isBeyond ? { ...options, reset: true } : options, handler)
  }
}
