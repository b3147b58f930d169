/**
 * The book a planner keeps: where bytes are while the plan grows, which egroups may move, and what is left of the
 * budget. It also answers the questions of failure domains.
 */
import type { EgroupId, NodeId, Tier } from '../base/units.ts'
import { HOLD_MS } from './marks.ts'
import type { CopyView, EgroupView, NodeView, PlanOptions, PlanView } from './plan-view.ts'

export class PlanLedger {
  readonly #nodes = new Map<NodeId, NodeView>()
  readonly #used: Record<Tier, Map<NodeId, number>> = { ssd: new Map(), hdd: new Map() }
  readonly #partials = new Map<NodeId, Map<EgroupId, number>>()
  readonly #moved = new Set<EgroupId>()
  readonly #now: number
  readonly #holdMs: number
  #budgetBytes: number

  constructor(view: PlanView, options: PlanOptions) {
    for (const node of view.nodes) {
      this.#nodes.set(node.node, node)
      this.#used.ssd.set(node.node, node.ssd.usedBytes)
      this.#used.hdd.set(node.node, node.hdd.usedBytes)
    }
    for (const { node, egroup, heldBytes } of view.partials) {
      const ofNode = this.#partials.get(node)
      if (ofNode === undefined) this.#partials.set(node, new Map([[egroup, heldBytes]]))
      else ofNode.set(egroup, heldBytes)
    }
    this.#now = view.now
    this.#holdMs = options.holdMs ?? HOLD_MS
    this.#budgetBytes = options.budgetBytes
  }

  /** Bytes on the tier, with the moves so far. */
  usedBytes(node: NodeId, tier: Tier): number {
    return this.#used[tier].get(node) ?? 0
  }

  sizeBytes(node: NodeId, tier: Tier): number {
    return this.#nodes.get(node)?.[tier].sizeBytes ?? 0
  }

  /** The tier would be filled to at most `mark` of its size with `bytes` more. */
  fits(node: NodeId, tier: Tier, bytes: number, mark: number): boolean {
    const size = this.sizeBytes(node, tier)
    return size > 0 && this.usedBytes(node, tier) + bytes <= size * mark
  }

  /** Part of the tier that is used; 0 when there is no such tier. */
  tierRatio(node: NodeId, tier: Tier): number {
    const size = this.sizeBytes(node, tier)
    return size === 0 ? 0 : this.usedBytes(node, tier) / size
  }

  /** Part of both tiers together that is used, with `extraBytes` more. */
  nodeRatio(node: NodeId, extraBytes = 0): number {
    const size = this.sizeBytes(node, 'ssd') + this.sizeBytes(node, 'hdd')
    return size === 0 ? 1 : (this.usedBytes(node, 'ssd') + this.usedBytes(node, 'hdd') + extraBytes) / size
  }

  /** What a partial copy of the egroup holds on the node; 0 when there is none. */
  partialBytes(node: NodeId, egroup: EgroupId): number {
    return this.#partials.get(node)?.get(egroup) ?? 0
  }

  isHealthy(node: NodeId): boolean {
    return this.#nodes.get(node)?.healthy ?? false
  }

  healthyNodes(): NodeView[] {
    return [...this.#nodes.values()].filter((node) => node.healthy)
  }

  /** No move yet in this plan nor within the hold time, and all copies on healthy nodes. */
  isMovable(egroup: EgroupView): boolean {
    return (
      !this.#moved.has(egroup.egroup) &&
      this.#now - egroup.movedAt >= this.#holdMs &&
      egroup.copies.every((copy) => this.isHealthy(copy.node))
    )
  }

  canCarry(bytes: number): boolean {
    return bytes <= this.#budgetBytes
  }

  /** Books a move of `egroup` that carries `bytes`. */
  carry(egroup: EgroupId, bytes: number): void {
    this.#moved.add(egroup)
    this.#budgetBytes -= bytes
  }

  /** Books `bytes` more (or fewer) on a tier. */
  add(node: NodeId, tier: Tier, bytes: number): void {
    this.#used[tier].set(node, this.usedBytes(node, tier) + bytes)
  }

  /** Copies without the one on `from` and with one on `to` would be on distinct nodes, and in no fewer blocks. */
  keepsDomains(copies: readonly CopyView[], from: NodeId, to: NodeId): boolean {
    if (copies.some((copy) => copy.node === to)) return false
    const before = new Set<string>()
    const after = new Set([this.#block(to)])
    for (const copy of copies) {
      const block = this.#block(copy.node)
      before.add(block)
      if (copy.node !== from) after.add(block)
    }
    return after.size >= before.size
  }

  /** Blocks that copies without the one on `from` and with one on `to` would span. */
  blocksSpanned(copies: readonly CopyView[], from: NodeId, to: NodeId): number {
    const after = new Set([this.#block(to)])
    for (const copy of copies) if (copy.node !== from) after.add(this.#block(copy.node))
    return after.size
  }

  /** An unknown node is a block of its own. */
  #block(node: NodeId): string {
    return this.#nodes.get(node)?.block ?? node
  }
}

/** Heat of a copy: only the owner's is read. */
export function copyHeat(egroup: EgroupView, node: NodeId): number {
  return node === egroup.owner ? egroup.heat : 0
}
