/** The copies that an egroup's record lists: what several parts of a CVM ask of them, and change in them. */
import type { NodeId } from '../base/units.ts'
import type { CopyRecord, EgroupRecord } from './records.ts'

export function isSealedOn(record: EgroupRecord, node: NodeId): boolean {
  return record.state === 'sealed' && record.copies.some((copy) => copy.node === node)
}

/**
 * The record without a copy of `node` that was lost before it was listed; those that were `replaced` by it are listed again while
 * there are too few. The node may have left by itself (curator/lost-copies.ts). `undefined`: the record can stay as it is, or
 * would list nothing.
 */
export function withdrawn(
  record: EgroupRecord,
  node: NodeId,
  replaced: readonly CopyRecord[],
): EgroupRecord | undefined {
  const others = record.copies.filter((copy) => copy.node !== node)
  const missing = replaced.filter((copy) => !others.some((other) => other.node === copy.node))
  const again = missing.slice(0, Math.max(0, record.rf - others.length))
  const copies = [...others, ...again]
  if (copies.length === 0 || (again.length === 0 && others.length === record.copies.length)) return undefined
  return { ...record, copies }
}
