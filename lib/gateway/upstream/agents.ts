import { isIP } from 'node:net'
import { Agent, buildConnector, errors } from 'undici'

/** Errors of connections that never came about: no node has seen anything of the request. */
const beforeSending: WeakSet<Error> = new WeakSet()

/** Whether a request failed for want of a connection (refused, not found, not trusted, too slow to connect). */
export function failedToConnect(error: Error): boolean {
  return beforeSending.has(error)
}

const MAX_AGENTS = 256

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
  get(connectTimeout: number, verify: boolean, serverName: string | undefined): Agent {
    // An address is no name that TLS could indicate.
    const servername = serverName === undefined || isIP(serverName) !== 0 ? undefined : serverName
    const key = `${connectTimeout} ${verify} ${servername ?? ''}`
    let agent = this.#agents.get(key)
    if (agent === undefined) {
      const connect = buildConnector({ timeout: connectTimeout, rejectUnauthorized: verify })
      agent = new Agent({
        connect: (options, callback) => {
          const { servername: _, ...rest } = options
          const target = servername === undefined ? { ...rest, host: rest.hostname } : { ...rest, servername }
          connectWithin(connectTimeout, connect, target, callback)
        }
      })
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
