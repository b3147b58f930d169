/**
 * Where the copies of a new egroup go. Pure: a view in, node ids out.
 *
 * The owner's node comes first (writes land locally), unless it cannot take the copy. The others go to other blocks
 * when the topology has enough of them, else to other nodes; among equals the one with most free space, weighted by
 * chance so that load spreads (two choices: take the better of two different random ones, Mitzenmacher 2001).
 */
import type { NodeId } from '../base/units.ts'
import type { Random } from '../platform/types.ts'

export interface PlacementNode {
  readonly node: NodeId
  readonly block: string
  readonly freeBytes: number
}

export interface PlacementRequest {
  /** Healthy nodes with room. */
  readonly candidates: readonly PlacementNode[]
  /** Copies wanted. */
  readonly count: number
  /** Node that should hold one copy. */
  readonly near?: NodeId
  /** Blocks and nodes that already hold a copy. */
  readonly taken?: ReadonlyArray<{ readonly node: NodeId; readonly block: string }>
}

/** Chooses up to `count` nodes; fewer when there are not enough candidates. */
export function choosePlacement(request: PlacementRequest, random: Random): NodeId[] {
  const chosen: NodeId[] = []
  const usedNodes = new Set((request.taken ?? []).map((t) => t.node))
  const usedBlocks = new Set((request.taken ?? []).map((t) => t.block))
  const take = (candidate: PlacementNode) => {
    chosen.push(candidate.node)
    usedNodes.add(candidate.node)
    usedBlocks.add(candidate.block)
  }
  const near = request.candidates.find((c) => c.node === request.near)
  if (near !== undefined && !usedNodes.has(near.node) && chosen.length < request.count) take(near)
  while (chosen.length < request.count) {
    const left = request.candidates.filter((c) => !usedNodes.has(c.node))
    if (left.length === 0) break
    const apart = left.filter((c) => !usedBlocks.has(c.block))
    take(betterOfTwo(apart.length > 0 ? apart : left, random))
  }
  return chosen
}

function betterOfTwo(nodes: readonly PlacementNode[], random: Random): PlacementNode {
  if (nodes.length === 1) return nodes[0]!
  const one = random.below(nodes.length)
  const first = nodes[one]!
  const second = nodes[(one + 1 + random.below(nodes.length - 1)) % nodes.length]!
  return second.freeBytes > first.freeBytes ? second : first
}
