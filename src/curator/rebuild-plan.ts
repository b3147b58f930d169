/** Pure choices of the rebuild: which copies count, and which one of too many goes. */
import type { NodeId } from '../base/units.ts'
import type { CopyRecord } from '../cluster/records.ts'

export type Counts = (node: NodeId) => boolean

/**
 * The copy that a record with more than `rf` of them can do without: never one that another failure domain depends on,
 * never the owner's; of the rest the farthest from the owner, then the one on the slower tier.
 */
export function surplusCopy(
  copies: readonly CopyRecord[],
  rf: number,
  owner: NodeId | undefined,
  blockOf: (node: NodeId) => string,
): CopyRecord | undefined {
  if (copies.length <= rf) return undefined
  const blocks = (of: readonly CopyRecord[]) => new Set(of.map((copy) => blockOf(copy.node))).size
  const needed = Math.min(rf, blocks(copies))
  const ownBlock = owner === undefined ? undefined : blockOf(owner)
  const cost = (copy: CopyRecord) => (blockOf(copy.node) === ownBlock ? 2 : 0) + (copy.tier === 'ssd' ? 1 : 0)
  return copies
    .filter((copy) => copy.node !== owner && blocks(copies.filter((other) => other !== copy)) >= needed)
    .sort((a, b) => cost(a) - cost(b))[0]
}

/** `copies` without those that do not count, once `rf` others are there; else all of them: the last is never given up. */
export function withoutLost(
  copies: readonly CopyRecord[],
  rf: number,
  counts: Counts,
): readonly CopyRecord[] {
  const good = copies.filter((copy) => counts(copy.node))
  return good.length >= rf ? good : copies
}
