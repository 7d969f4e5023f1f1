import type { Timeout, Upstream as UpstreamConfig } from '../../config/schema.ts'
import { nodesOf, type UpstreamNode } from '../../config/validate.ts'
import { RoundRobin } from './balancer.ts'

/** APISIX's, in seconds. */
const DEFAULT_TIMEOUT = 60

/** Milliseconds. */
export interface Timeouts {
  readonly connect: number
  readonly send: number
  readonly read: number
}

/** Somewhere that requests are forwarded to: nodes and how to speak to them. */
export class Upstream {
  readonly scheme: 'http' | 'https'
  /** Its id or, of one that is written where it is used, its name. */
  readonly name: string | undefined
  /** Whether certificates are verified. */
  readonly verify: boolean
  /** On how many other nodes a request is tried. */
  readonly retries: number
  readonly #config: UpstreamConfig
  readonly #balancer: RoundRobin

  /** @param config already validated */
  constructor(config: UpstreamConfig) {
    this.#config = config
    this.#balancer = new RoundRobin(nodesOf(config, 'upstream'))
    this.scheme = config.scheme ?? 'http'
    this.name = config.id === undefined ? config.name : String(config.id)
    this.verify = config.tls?.verify ?? true
    this.retries = config.retries ?? Math.max(0, this.#balancer.size - 1)
  }

  /** How many nodes can be picked at all. */
  get size(): number {
    return this.#balancer.size
  }

  close(): void {}

  pick(tried: readonly UpstreamNode[]): UpstreamNode | undefined {
    return this.#balancer.pick(tried)
  }

  /**
   * The `host` header that a node is sent, by `pass_host`.
   *
   * @param clientHost empty when the client said none, as HTTP/1.0 allows
   */
  hostFor(node: UpstreamNode, clientHost: string): string {
    switch (this.#config.pass_host) {
      case 'node':
        return this.authority(node)
      case 'rewrite':
        return this.#config.upstream_host!
      default:
        return clientHost === '' ? this.authority(node) : clientHost
    }
  }

  /**
   * The name that a node's certificate must be for. Never the client's `host`: the client does not choose whom the
   * gateway trusts.
   */
  serverNameFor(node: UpstreamNode): string {
    if (this.#config.pass_host !== 'rewrite') return node.host
    // Brackets are how an IPv6 address is written in `host`.
    return this.#config.upstream_host!.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
  }

  /** `host:port`, without the port that the scheme implies. */
  authority({ host, port }: UpstreamNode): string {
    const name = host.includes(':') ? `[${host}]` : host
    return port === (this.scheme === 'https' ? 443 : 80) ? name : `${name}:${port}`
  }

  /** @param route what the route says stands above what the upstream says */
  timeouts(route: Timeout | undefined): Timeouts {
    const own = this.#config.timeout
    const of = (name: keyof Timeout) => (route?.[name] ?? own?.[name] ?? DEFAULT_TIMEOUT) * 1000
    return { connect: of('connect'), send: of('send'), read: of('read') }
  }
}
