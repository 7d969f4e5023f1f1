import { hash } from 'node:crypto'
import type { UpstreamNode } from '../../config/validate.ts'
import type { Balancer } from './balancer.ts'

/** As APISIX: of a node whose weight is the smallest, or rather the greatest common divisor of all. */
const POINTS_PER_WEIGHT = 160
/** Weights may be far apart: beyond this they count in proportion. */
const MAX_POINTS = 100_000

interface Point {
  readonly at: number
  readonly node: UpstreamNode
}

/**
 * Consistent hashing: the same key is sent to the same node, and when nodes come or go only the keys of those move. Every node
 * has points on a ring; a key's node is that of the next point.
 */
export class ConsistentHash implements Balancer {
  readonly #ring: readonly Point[]
  readonly #nodes: readonly UpstreamNode[]

  constructor(nodes: readonly UpstreamNode[]) {
    this.#nodes = nodes
    const unit = nodes.reduce((divisor, { weight }) => greatestCommonDivisor(divisor, weight), 0)
    const wanted = nodes.reduce((sum, { weight }) => sum + (weight / unit) * POINTS_PER_WEIGHT, 0)
    const scale = Math.min(1, MAX_POINTS / wanted)
    this.#ring = nodes
      .flatMap((node) => {
        const count = Math.max(1, Math.round((node.weight / unit) * POINTS_PER_WEIGHT * scale))
        return Array.from({ length: count }, (_, i) => ({ at: positionOf(`${node.host}:${node.port} ${i}`), node }))
      })
      .sort((a, b) => a.at - b.at)
  }

  pick(
    tried: readonly UpstreamNode[],
    usable: ReadonlySet<UpstreamNode> | undefined,
    key: string | undefined
  ): UpstreamNode | undefined {
    const ring = this.#ring
    if (this.#nodes.every((node) => tried.includes(node) || usable?.has(node) === false)) return undefined
    // Without a key there is nothing that should stay together.
    const position = key === undefined ? Math.floor(Math.random() * 2 ** 32) : positionOf(key)
    for (let i = this.#after(position); ; i++) {
      const { node } = ring[i % ring.length]!
      if (!tried.includes(node) && usable?.has(node) !== false) return node
    }
  }

  /** The index of the first point that is not before a position. */
  #after(position: number): number {
    let low = 0
    let high = this.#ring.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#ring[middle]!.at < position) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Not for secrecy: its bits are spread evenly, whatever the keys have in common. */
function positionOf(text: string): number {
  return hash('sha1', text, 'buffer').readUInt32BE(0)
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}
