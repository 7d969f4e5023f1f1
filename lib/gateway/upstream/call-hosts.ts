import { type AllowedHost, compileHosts } from '../../config/hosts.ts'
import { parseAddress } from '../../config/validate.ts'
import type { Logger } from '../../host/index.ts'

/** A filter may call names without end, made from what clients send. */
const MAX_WARNINGS = 100
/** Of a name in the log. */
const MAX_LENGTH = 300

/** What the http and gRPC calls of one plugin may reach. */
export class CallHosts {
  /** What is declared. */
  readonly list: readonly string[]
  readonly #plugin: string
  readonly #ids: ReadonlySet<string>
  readonly #addresses: readonly AllowedHost[]
  /** The names that were refused. */
  readonly #refused: Set<string> = new Set()

  constructor(plugin: string, list: readonly string[]) {
    this.list = list
    this.#plugin = plugin
    this.#ids = new Set(list)
    this.#addresses = compileHosts(list)
  }

  /**
   * Whether a call may be made; when not, that is logged, once for a name.
   *
   * @param name the id of an upstream, or else an address
   * @param scheme of an address without a port
   */
  permits(name: string, scheme: 'http' | 'https', isUpstream: (id: string) => boolean, log: Logger): boolean {
    const permitted = isUpstream(name) ? this.#ids.has(name) : this.#permitsAddress(name, scheme, isUpstream)
    if (!permitted) this.#warn(name, log)
    return permitted
  }

  #permitsAddress(name: string, scheme: 'http' | 'https', isUpstream: (id: string) => boolean): boolean {
    const address = parseAddress(name)
    if (address === undefined) return false
    const host = address.host.toLowerCase()
    const port = address.port ?? (scheme === 'https' ? 443 : 80)
    // What is the id of an upstream is no address beside it: `auth` would be the host of that name too, at any port.
    return this.#addresses.some(({ text, matches }) => matches(host, port) && !isUpstream(text))
  }

  #warn(name: string, log: Logger): void {
    if (this.#refused.size >= MAX_WARNINGS || this.#refused.has(name)) return
    this.#refused.add(name)
    const shown = JSON.stringify(name.slice(0, MAX_LENGTH))
    const last = this.#refused.size === MAX_WARNINGS ? ' (there are many: no others are logged)' : ''
    log.warn({ plugin: this.#plugin }, `the filter called ${shown}, which its \`hosts\` do not list${last}`)
  }
}
