import type { Upstream as UpstreamConfig } from '../../config/schema.ts'
import type { UpstreamNode } from '../../config/validate.ts'
import { ConsistentHash } from './consistent-hash.ts'
import { LeastConnections } from './least-connections.ts'
import { RoundRobin } from './round-robin.ts'

/** Chooses among nodes, all of which have a weight above 0. */
export interface Balancer {
  /**
   * @param tried the nodes that have failed for this request already
   * @param usable the nodes that may be picked; `undefined`: all
   * @param key of the request, for those who choose by it
   */
  pick(
    tried: readonly UpstreamNode[],
    usable: ReadonlySet<UpstreamNode> | undefined,
    key: string | undefined
  ): UpstreamNode | undefined
}

/** @param active tells how many requests a node is at work on */
export function createBalancer(
  type: UpstreamConfig['type'],
  nodes: readonly UpstreamNode[],
  active: (node: UpstreamNode) => number
): Balancer {
  switch (type) {
    case 'chash':
      return new ConsistentHash(nodes)
    case 'least_conn':
      return new LeastConnections(nodes, active)
    default:
      return new RoundRobin(nodes)
  }
}
