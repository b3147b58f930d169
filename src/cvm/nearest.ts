/** In which order copies of an egroup are asked: this node, its block, the others; nodes that are down are left out. */
import type { NodeId } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import type { EgroupRecord } from '../cluster/records.ts'

export function nearestNodes(record: EgroupRecord, membership: Membership): NodeId[] {
  const block = membership.member(membership.self)?.block
  const distance = (node: NodeId) => {
    if (node === membership.self) return 0
    return membership.member(node)?.block === block ? 1 : 2
  }
  return record.copies
    .map((copy) => copy.node)
    .filter((node) => node === membership.self || membership.isAlive(node))
    .sort((a, b) => distance(a) - distance(b))
}
