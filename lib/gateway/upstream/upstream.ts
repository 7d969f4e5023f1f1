import { createHash } from 'node:crypto'
import type { Timeout, Upstream as UpstreamConfig } from '../../config/schema.ts'
import { nodesOf, type UpstreamNode } from '../../config/validate.ts'
import type { Logger } from '../../host/index.ts'
import { type Balancer, createBalancer } from './balancer.ts'
import { hashKey } from './hash-key.ts'
import { HealthChecks, type Outcome } from './health-checks.ts'
import type { TlsSettings } from './tls.ts'

/** APISIX's, in seconds. */
const DEFAULT_TIMEOUT = 60

/** Milliseconds. */
export interface Timeouts {
  readonly connect: number
  readonly send: number
  readonly read: number
}

/** What `status()` tells of an upstream. */
export interface UpstreamStatus {
  /** Its id or, of one that is written where it is used, its name */
  name: string | undefined
  nodes: {
    host: string
    port: number
    weight: number
    priority: number
    /** As far as health checks have found out; without any `true` */
    healthy: boolean
    /** Requests under way */
    requests: number
  }[]
}

/** Somewhere that requests are forwarded to: nodes and how to speak to them. */
export class Upstream {
  readonly scheme: 'http' | 'https'
  /** Its id or, of one that is written where it is used, its name. */
  readonly name: string | undefined
  readonly tls: TlsSettings
  readonly keepalive: UpstreamConfig['keepalive_pool']
  /** Tells apart whose connections may not be shared: by TLS settings, and by pool as well. */
  readonly connectionKey: string
  readonly poolKey: string
  /** On how many other nodes a request is tried. */
  readonly retries: number
  /** Milliseconds in which another node may be tried. */
  readonly retryTimeout: number
  readonly #config: UpstreamConfig
  readonly #nodes: readonly UpstreamNode[]
  /** How many nodes can be picked at all. */
  readonly #size: number
  /** By priority, high to low. */
  readonly #balancers: readonly Balancer[]
  readonly #active: Map<UpstreamNode, number> = new Map()
  readonly #checks: HealthChecks | undefined

  /** @param config already validated */
  constructor(config: UpstreamConfig, log: Logger) {
    this.#config = config
    this.#nodes = nodesOf(config, 'upstream')
    const pickable = this.#nodes.filter(({ weight }) => weight > 0)
    const active = (node: UpstreamNode) => this.#active.get(node) ?? 0
    const priorities = [...new Set(pickable.map(({ priority }) => priority))].sort((a, b) => b - a)
    this.#balancers = priorities.map((wanted) =>
      createBalancer(
        config.type,
        pickable.filter(({ priority }) => priority === wanted),
        active
      )
    )
    this.#size = pickable.length
    this.scheme = config.scheme ?? 'http'
    this.name = config.id === undefined ? config.name : String(config.id)
    const { verify = true, client_cert: cert, client_key: key } = config.tls ?? {}
    this.tls = cert === undefined || key === undefined ? { verify } : { verify, cert, key }
    this.keepalive = config.keepalive_pool
    this.connectionKey = createHash('sha256').update(JSON.stringify(this.tls)).digest('hex')
    this.poolKey = `${this.connectionKey} ${JSON.stringify(this.keepalive)}`
    this.retries = config.retries ?? Math.max(0, this.#size - 1)
    this.retryTimeout = config.retry_timeout ? config.retry_timeout * 1000 : Number.POSITIVE_INFINITY
    this.#checks = config.checks && new HealthChecks(this, pickable, config.checks, log)
  }

  /** Health checks begin, unless they have. */
  start(): void {
    this.#checks?.start()
  }

  /** No route leads here any more; requests under way go on. */
  close(): void {
    this.#checks?.close()
  }

  /**
   * Chooses a node, of the highest priority that has one left: among those that are well, as long as one is. It counts as
   * at work until it is released.
   *
   * @param tried the nodes that have failed for this request already
   * @param key of the request, by `hash_on`
   */
  pick(tried: readonly UpstreamNode[], key?: string): UpstreamNode | undefined {
    for (const balancer of this.#balancers) {
      const node = balancer.pick(tried, this.#checks?.usable, key)
      if (node === undefined) continue
      this.#active.set(node, (this.#active.get(node) ?? 0) + 1)
      return node
    }
    return undefined
  }

  /** The request that a node was picked for is over. */
  release(node: UpstreamNode): void {
    this.#active.set(node, this.#active.get(node)! - 1)
  }

  /** Takes note of how a request to a node ended, for the health checks. */
  report(node: UpstreamNode, outcome: Outcome): void {
    this.#checks?.report(node, outcome)
  }

  /** What `chash` chooses by; `undefined` for other types. */
  hashKey(variable: (name: string) => string | undefined): string | undefined {
    return this.#config.type === 'chash' ? hashKey(this.#config, variable) : undefined
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
  authority({ host, port }: Pick<UpstreamNode, 'host' | 'port'>): string {
    const name = host.includes(':') ? `[${host}]` : host
    return port === (this.scheme === 'https' ? 443 : 80) ? name : `${name}:${port}`
  }

  /** @param route what the route says stands above what the upstream says */
  timeouts(route: Timeout | undefined): Timeouts {
    const own = this.#config.timeout
    const of = (name: keyof Timeout) => millisecondsOf(route?.[name] ?? own?.[name] ?? DEFAULT_TIMEOUT)
    return { connect: of('connect'), send: of('send'), read: of('read') }
  }

  status(): UpstreamStatus {
    return {
      name: this.name,
      nodes: this.#nodes.map((node) => ({
        ...node,
        healthy: this.#checks === undefined || node.weight === 0 || this.#checks.isHealthy(node),
        requests: this.#active.get(node) ?? 0
      }))
    }
  }
}

/** What a timer takes at most, some weeks: it fires at once when it is told more. */
const MAX_TIMER = 2 ** 31 - 1

/** Seconds in milliseconds, for a timer. */
export function millisecondsOf(seconds: number): number {
  return Math.min(seconds * 1000, MAX_TIMER)
}
