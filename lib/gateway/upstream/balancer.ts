import type { UpstreamNode } from '../../config/validate.ts'

interface Turn {
  readonly node: UpstreamNode
  current: number
}

/**
 * Smooth weighted round robin, as nginx does it: every node gains its weight, the one with the most is picked and pays the
 * sum. So a node of weight 5 beside one of weight 1 is not picked five times in a row.
 */
export class RoundRobin {
  readonly #turns: readonly Turn[]

  constructor(nodes: readonly UpstreamNode[]) {
    // Weight 0: never picked.
    this.#turns = nodes.filter(({ weight }) => weight > 0).map((node) => ({ node, current: 0 }))
  }

  /** How many nodes can be picked at all. */
  get size(): number {
    return this.#turns.length
  }

  /** @param tried the nodes that have failed for this request already */
  pick(tried: readonly UpstreamNode[]): UpstreamNode | undefined {
    let picked: Turn | undefined
    let total = 0
    for (const turn of this.#turns) {
      if (tried.includes(turn.node)) continue
      turn.current += turn.node.weight
      total += turn.node.weight
      if (picked === undefined || turn.current > picked.current) picked = turn
    }
    if (picked === undefined) return undefined
    picked.current -= total
    return picked.node
  }
}
