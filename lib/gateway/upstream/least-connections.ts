import type { UpstreamNode } from '../../config/validate.ts'
import type { Balancer } from './balancer.ts'

/** Picks the node with the fewest requests under way for its weight; those that are equal take turns. */
export class LeastConnections implements Balancer {
  readonly #nodes: readonly UpstreamNode[]
  readonly #active: (node: UpstreamNode) => number
  #next = 0

  /** @param active tells how many requests a node is at work on */
  constructor(nodes: readonly UpstreamNode[], active: (node: UpstreamNode) => number) {
    this.#nodes = nodes
    this.#active = active
  }

  pick(tried: readonly UpstreamNode[], usable: ReadonlySet<UpstreamNode> | undefined): UpstreamNode | undefined {
    const nodes = this.#nodes
    let picked = -1
    let least = Number.POSITIVE_INFINITY
    for (let i = 0; i < nodes.length; i++) {
      const at = (this.#next + i) % nodes.length
      const node = nodes[at]!
      if (tried.includes(node) || usable?.has(node) === false) continue
      const score = (this.#active(node) + 1) / node.weight
      if (score >= least) continue
      least = score
      picked = at
    }
    if (picked === -1) return undefined
    this.#next = (picked + 1) % nodes.length
    return nodes[picked]
  }
}
