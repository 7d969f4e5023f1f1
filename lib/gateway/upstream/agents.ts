import { isIP } from 'node:net'
import { Agent, buildConnector } from 'undici'

/** The connections to upstream nodes: one agent for everything that shares connect timeout and TLS settings. */
export class Agents {
  readonly #agents: Map<string, Agent> = new Map()

  /**
   * @param connectTimeout milliseconds
   * @param serverName whom a certificate must be for; an address is verified as one
   */
  get(connectTimeout: number, verify: boolean, serverName: string | undefined): Agent {
    const key = `${connectTimeout} ${verify} ${serverName ?? ''}`
    let agent = this.#agents.get(key)
    if (agent === undefined) {
      const connect = buildConnector({ timeout: connectTimeout, rejectUnauthorized: verify })
      // An address is no name that TLS could indicate.
      const servername = serverName === undefined || isIP(serverName) !== 0 ? undefined : serverName
      agent = new Agent({
        connect: (options, callback) => {
          const { servername: _, ...rest } = options
          connect(servername === undefined ? { ...rest, host: rest.hostname } : { ...rest, servername }, callback)
        }
      })
      this.#agents.set(key, agent)
    }
    return agent
  }

  async close(): Promise<void> {
    await Promise.all([...this.#agents.values()].map((agent) => agent.destroy()))
  }
}
