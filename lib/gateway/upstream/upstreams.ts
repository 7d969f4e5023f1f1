import { parseAddress } from '../../config/validate.ts'
import type { Logger } from '../../host/index.ts'
import type { CallHosts } from './call-hosts.ts'
import { Upstream } from './upstream.ts'

/** A filter may call addresses without end, made from what clients send. */
const MAX_ADDRESSES = 1000
/** What is kept of connections to one of them, whatever the server offers. */
const ADDRESS_POOL = { size: 64, idle_timeout: 4 }

/** Finds what a filter calls: a configured upstream by its id, or the server at a `host[:port]`. */
export class Upstreams {
  readonly #configured: (id: string) => Upstream | undefined
  readonly #isConfigured = (id: string): boolean => this.#configured(id) !== undefined
  /** Upstreams of one node, for the addresses that filters have called. */
  readonly #addresses: Map<string, Upstream> = new Map()

  readonly #log: Logger

  /** @param configured finds a configured upstream */
  constructor(configured: (id: string) => Upstream | undefined, log: Logger) {
    this.#configured = configured
    this.#log = log
  }

  /**
   * @param scheme of an address; a configured upstream has its own
   * @param hosts what the caller may reach; absent: anything
   */
  find(name: string, scheme: 'http' | 'https', hosts?: CallHosts): Upstream | undefined {
    const upstream = this.#configured(name)
    if (upstream === undefined && parseAddress(name) === undefined) return undefined
    if (hosts?.permits(name, scheme, this.#isConfigured, this.#log) === false) return undefined
    return upstream ?? this.#address(name, scheme)
  }

  #address(address: string, scheme: 'http' | 'https'): Upstream {
    const key = `${scheme}://${address}`
    let upstream = this.#addresses.get(key)
    if (upstream === undefined) {
      upstream = new Upstream({ nodes: { [address]: 1 }, scheme, keepalive_pool: ADDRESS_POOL }, this.#log)
      if (this.#addresses.size >= MAX_ADDRESSES) this.#addresses.clear()
      this.#addresses.set(key, upstream)
    }
    return upstream
  }
}
