import type { Checks } from '../../config/schema.ts'
import type { UpstreamNode } from '../../config/validate.ts'
import type { Logger } from '../../host/index.ts'
import { probe } from './health-probe.ts'
import { millisecondsOf, type Upstream } from './upstream.ts'

/** How a request to a node ended: with a status, or a connection where no more was wanted; without one, or too late. */
export type Outcome = number | 'connected' | 'tcp failure' | 'timeout'

interface Thresholds {
  readonly healthyStatuses: ReadonlySet<number>
  readonly successes: number
  readonly unhealthyStatuses: ReadonlySet<number>
  readonly httpFailures: number
  readonly tcpFailures: number
  readonly timeouts: number
}

/** APISIX's */
const ACTIVE = {
  healthyStatuses: [200, 302],
  successes: 2,
  unhealthyStatuses: [429, 404, 500, 501, 502, 503, 504, 505],
  httpFailures: 5,
  tcpFailures: 2,
  timeouts: 3
}
const PASSIVE = {
  healthyStatuses: [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308],
  successes: 5,
  unhealthyStatuses: [429, 500, 503],
  httpFailures: 5,
  tcpFailures: 2,
  timeouts: 7
}
const INTERVAL = 1
const CONCURRENCY = 10

interface Health {
  healthy: boolean
  /** In a row */
  successes: number
  /** Each since the last success */
  httpFailures: number
  tcpFailures: number
  timeouts: number
  timer: NodeJS.Timeout | undefined
}

/**
 * Finds out which nodes of an upstream are well: by asking them at intervals (active), and by what becomes of the requests
 * that they are sent (passive). What counts is how often something has happened in a row, as in APISIX.
 */
export class HealthChecks {
  /** The nodes that are well; `undefined` when all are, and when none is: then all of them are tried. */
  usable: ReadonlySet<UpstreamNode> | undefined
  readonly #upstream: Upstream
  readonly #checks: Checks
  readonly #log: Logger
  readonly #active: Thresholds
  readonly #passive: Thresholds | undefined
  readonly #nodes: ReadonlyMap<UpstreamNode, Health>
  /** Probes under way, and nodes that wait for one to end. */
  #probes = 0
  readonly #waiting: UpstreamNode[] = []
  #started = false
  #closed = false

  constructor(upstream: Upstream, nodes: readonly UpstreamNode[], checks: Checks, log: Logger) {
    this.#upstream = upstream
    this.#checks = checks
    this.#log = log
    this.#active = thresholds(checks.active, ACTIVE)
    this.#passive = checks.passive && thresholds(checks.passive, PASSIVE)
    this.#nodes = new Map(
      nodes.map((node) => [
        node,
        { healthy: true, successes: 0, httpFailures: 0, tcpFailures: 0, timeouts: 0, timer: undefined }
      ])
    )
  }

  isHealthy(node: UpstreamNode): boolean {
    return this.#nodes.get(node)!.healthy
  }

  /** Begins to ask the nodes, if that has not begun. */
  start(): void {
    if (this.#started) return
    this.#started = true
    for (const node of this.#nodes.keys()) this.#probe(node)
  }

  close(): void {
    this.#closed = true
    for (const { timer } of this.#nodes.values()) clearTimeout(timer)
  }

  /** Takes note of how a client's request to a node ended. */
  report(node: UpstreamNode, outcome: Outcome): void {
    if (this.#passive !== undefined) this.#count(node, outcome, this.#passive)
  }

  async #probe(node: UpstreamNode): Promise<void> {
    const { concurrency = CONCURRENCY } = this.#checks.active
    if (this.#probes >= concurrency) {
      this.#waiting.push(node)
      return
    }
    this.#probes++
    const outcome = await probe(this.#upstream, node, this.#checks.active)
    this.#probes--
    if (this.#closed) return
    this.#count(node, outcome, this.#active)
    const health = this.#nodes.get(node)!
    const { healthy, unhealthy } = this.#checks.active
    const interval = (health.healthy ? healthy : unhealthy)?.interval ?? INTERVAL
    health.timer = setTimeout(() => this.#probe(node), millisecondsOf(interval))
    health.timer.unref()
    const next = this.#waiting.shift()
    if (next !== undefined) this.#probe(next)
  }

  #count(node: UpstreamNode, outcome: Outcome, limits: Thresholds): void {
    const health = this.#nodes.get(node)
    if (health === undefined) return
    if (outcome === 'connected' || (typeof outcome === 'number' && limits.healthyStatuses.has(outcome))) {
      health.httpFailures = health.tcpFailures = health.timeouts = 0
      if (health.healthy) return
      health.successes++
      if (reached(health.successes, limits.successes)) this.#turn(node, health, outcome)
      return
    }
    if (typeof outcome === 'number' && !limits.unhealthyStatuses.has(outcome)) return
    health.successes = 0
    if (!health.healthy) return
    const isTooMuch =
      outcome === 'tcp failure'
        ? reached(++health.tcpFailures, limits.tcpFailures)
        : outcome === 'timeout'
          ? reached(++health.timeouts, limits.timeouts)
          : reached(++health.httpFailures, limits.httpFailures)
    if (isTooMuch) this.#turn(node, health, outcome)
  }

  #turn(node: UpstreamNode, health: Health, outcome: Outcome): void {
    const reason = typeof outcome === 'number' ? `status ${outcome}` : outcome
    health.healthy = !health.healthy
    health.successes = health.httpFailures = health.tcpFailures = health.timeouts = 0
    const well = [...this.#nodes].filter(([, { healthy }]) => healthy).map(([node]) => node)
    this.usable = well.length === 0 || well.length === this.#nodes.size ? undefined : new Set(well)
    const fields = { upstream: this.#upstream.name, node: this.#upstream.authority(node) }
    if (health.healthy) {
      this.#log.info(fields, `the node ${fields.node} is healthy again: ${reason}`)
    } else {
      const none = well.length === 0 ? '; no node of the upstream is healthy, so all of them are tried' : ''
      this.#log.warn(fields, `the node ${fields.node} is unhealthy: ${reason}${none}`)
    }
  }
}

/** Whether a count has come to its limit. 0: there is none. */
function reached(count: number, limit: number): boolean {
  return limit > 0 && count >= limit
}

function thresholds(
  { healthy, unhealthy }: Pick<Checks['active'], 'healthy' | 'unhealthy'>,
  otherwise: typeof ACTIVE
): Thresholds {
  return {
    healthyStatuses: new Set(healthy?.http_statuses ?? otherwise.healthyStatuses),
    successes: healthy?.successes ?? otherwise.successes,
    unhealthyStatuses: new Set(unhealthy?.http_statuses ?? otherwise.unhealthyStatuses),
    httpFailures: unhealthy?.http_failures ?? otherwise.httpFailures,
    tcpFailures: unhealthy?.tcp_failures ?? otherwise.tcpFailures,
    timeouts: unhealthy?.timeouts ?? otherwise.timeouts
  }
}
