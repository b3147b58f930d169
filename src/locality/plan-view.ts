/**
 * What planners see, and what they answer. A planner is a pure function `(view, options) → moves`: it reads a view of
 * one moment, never the world. One mover executes the moves in their order; the space they take and free is counted
 * while planning, so that a plan is right as a whole. Common to all planners:
 *
 *   - an egroup is moved at most once in a plan, and not within `holdMs` of its last move;
 *   - an egroup with a copy on a node that is not healthy is left to the rebuild;
 *   - copies stay on distinct nodes, their number stays, and they never span fewer blocks than before;
 *   - the moves of a plan together stay within `budgetBytes`;
 *   - the coldest are moved first (the hottest, where they come nearer), ties in the order of ids: a plan is
 *     deterministic.
 *
 * Settled means still: each planner starts at one mark and stops at another below it, no planner fills a tier beyond
 * the mark at which another starts to empty it, and the hold time stands over all. The marks are in marks.ts.
 */
import type { EgroupId, NodeId, Tier, VDiskId } from '../base/units.ts'

export interface CopyView {
  readonly node: NodeId
  readonly tier: Tier
}

/** One sealed egroup. Open ones are not planned for. */
export interface EgroupView {
  readonly egroup: EgroupId
  readonly stream: VDiskId
  /** Node whose CVM owns the stream's vDisk: the one that reads. */
  readonly owner: NodeId
  /** Full copies, at least one. */
  readonly copies: readonly CopyView[]
  /** Device bytes of one full copy. */
  readonly bytes: number
  /** Accesses by the owner, decayed (`HeatTable.heat`). The copies on other nodes serve nobody: their heat is 0. */
  readonly heat: number
  /** When it was moved last, ms; −Infinity when never. */
  readonly movedAt: number
}

/** A node's partial copy of an egroup, on its SSD. */
export interface PartialView {
  readonly egroup: EgroupId
  readonly node: NodeId
  /** Device bytes it takes. */
  readonly heldBytes: number
  /** Accesses, decayed. */
  readonly heat: number
  /** What the policy says (`LocalityPolicy.shouldComplete`). */
  readonly complete: boolean
}

export interface TierUsage {
  readonly usedBytes: number
  /** 0: the node has no such tier. */
  readonly sizeBytes: number
}

export interface NodeView {
  readonly node: NodeId
  /** Chassis: the failure domain. */
  readonly block: string
  readonly healthy: boolean
  readonly ssd: TierUsage
  readonly hdd: TierUsage
}

export interface PlanView {
  readonly nodes: readonly NodeView[]
  readonly egroups: readonly EgroupView[]
  readonly partials: readonly PartialView[]
  /** Milliseconds, of the clock of `movedAt`. */
  readonly now: number
}

export interface PlanOptions {
  /** Bytes that the moves of this plan may carry together. */
  readonly budgetBytes: number
  /** A moved egroup stays where it is for so long, ms. Default `HOLD_MS`. */
  readonly holdMs?: number
}

/** The copy on a node changes its tier. */
export interface TierMove {
  readonly type: 'tier'
  readonly egroup: EgroupId
  readonly node: NodeId
  readonly from: Tier
  readonly to: Tier
  readonly bytes: number
}

/** A partial copy is given up. Nothing is carried, so `bytes` (what becomes free) does not count in the budget. */
export interface DropPartialMove {
  readonly type: 'drop-partial'
  readonly egroup: EgroupId
  readonly node: NodeId
  readonly bytes: number
}

/** A copy goes to another node, which has more space. A partial copy that `to` may have gives way to it. */
export interface EvictMove {
  readonly type: 'evict'
  readonly egroup: EgroupId
  readonly from: NodeId
  readonly to: NodeId
  readonly toTier: Tier
  readonly bytes: number
}

/** The partial copy on `to` (SSD) is completed, and takes the place of the copy on `from`. `bytes`: what it lacks. */
export interface LocaliseMove {
  readonly type: 'localise'
  readonly egroup: EgroupId
  readonly from: NodeId
  readonly to: NodeId
  readonly bytes: number
}

export type Move = TierMove | DropPartialMove | EvictMove | LocaliseMove
