import type { UpstreamNode } from '../../config/validate.ts'
import type { Balancer } from './balancer.ts'

interface Turn {
  readonly node: UpstreamNode
  current: number
}

/**
 * Smooth weighted round robin, as nginx does it: every node gains its weight, the one with the most is picked and pays the
 * sum. So a node of weight 5 beside one of weight 1 is not picked five times in a row.
 */
export class RoundRobin implements Balancer {
  readonly #turns: readonly Turn[]

  constructor(nodes: readonly UpstreamNode[]) {
    this.#turns = nodes.map((node) => ({ node, current: 0 }))
  }

  pick(tried: readonly UpstreamNode[], usable: ReadonlySet<UpstreamNode> | undefined): UpstreamNode | undefined {
    let picked: Turn | undefined
    let total = 0
    for (const turn of this.#turns) {
      const { node } = turn
      if (tried.includes(node) || usable?.has(node) === false) continue
      turn.current += node.weight
      total += node.weight
      if (picked === undefined || turn.current > picked.current) picked = turn
    }
    if (picked === undefined) return undefined
    picked.current -= total
    return picked.node
  }
}
