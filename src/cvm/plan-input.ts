/** The cluster as the planners of locality/ see it, from what this CVM knows. */
import type { NodeId } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import type { EgroupRecord, TierUsageRecord, UsageRecord } from '../cluster/records.ts'
import type { EgroupView, NodeView, TierUsage } from '../locality/plan-view.ts'

const NOTHING = { usedBytes: 0, sizeBytes: 0 }

/** The marks of the planners are parts of what user data can have: on small devices that is noticeably less than all. */
export function usableTier({ usedBytes, sizeBytes, reservedBytes }: TierUsageRecord): TierUsage {
  return { usedBytes, sizeBytes: Math.max(0, sizeBytes - reservedBytes) }
}

/** A node whose space nobody knows is not healthy. */
export function nodeViews(
  membership: Membership,
  usageOf: (node: NodeId) => UsageRecord | undefined,
): NodeView[] {
  return membership.members().map((member) => {
    const usage = usageOf(member.node)
    return {
      node: member.node,
      block: member.block,
      healthy: membership.isAlive(member.node) && member.state === 'member' && usage !== undefined,
      ssd: usage === undefined ? NOTHING : usableTier(usage.ssd),
      hdd: usage === undefined ? NOTHING : usableTier(usage.hdd),
    }
  })
}

export function egroupView(
  egroup: number,
  record: EgroupRecord,
  owner: NodeId,
  bytes: number,
  heat: number,
): EgroupView {
  return {
    egroup,
    stream: record.stream,
    owner,
    copies: record.copies,
    bytes,
    heat,
    movedAt: record.movedAt ?? Number.NEGATIVE_INFINITY,
  }
}
