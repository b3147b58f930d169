/**
 * Brings a node's copies and the directory together: at the start of a CVM, before its lease says that it is there,
 * and when a device of it has failed.
 *
 *   listed here, not on a device        → this node leaves the record, if another copy remains: the rebuild fills up
 *   listed as sealed, copy still open    → it missed the seal: cut to the sealed length; too short → as above
 *   on a device, not in the directory    → garbage of an earlier life: dropped, but for one that is open and empty
 *   on a device, this node not listed    → it was dropped while the node was away: kept as nothing, dropped
 * A record that is still open belongs to its stream's owner, or to the one who takes over: left alone.
 *
 * A copy that was made before this CVM died may be about to be listed by whoever had asked for it. One with data goes all the
 * same, since a full cluster needs its space: whoever lists a copy of what was written makes sure afterwards that it is still
 * there, and so does this node (curator/lost-copies.ts). An open and empty one was made for a new egroup. Whoever opened that may
 * have died too, with the commit that lists it under way: were all copies gone when it comes, a takeover would have to take the
 * log for lost. So it stays until it has been unlisted for long enough (curator/unlisted.ts).
 */
import type { EgroupId, NodeId } from '../base/units.ts'
import type { EgroupRecord } from '../cluster/records.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type { CopyInfo } from '../extent-store/types.ts'
import type { Directory } from '../replication/directory.ts'

export interface ReconcileReport {
  lostCopies: number
  droppedCopies: number
  sealedCopies: number
}

/** `dropUnlisted`: only at the start, when no call that makes a copy here is under way. */
export async function reconcile(
  node: NodeId,
  store: ExtentStore,
  directory: Directory,
  dropUnlisted: boolean,
): Promise<ReconcileReport> {
  const report: ReconcileReport = { lostCopies: 0, droppedCopies: 0, sealedCopies: 0 }
  for (const [egroup, entry] of [...directory.all()]) {
    const record = entry.value
    if (!record.copies.some((copy) => copy.node === node)) continue
    if (record.state === 'sealed' && !(await hasSealed(egroup, record, store, report))) {
      // The last copy is never given up: its device may come back, and an error is better than silence.
      if (await directory.leave(egroup, node)) report.lostCopies++
    }
  }
  if (!dropUnlisted) return report
  for (const copy of store.copies()) {
    const record = directory.record(copy.egroup)
    const listed = record?.copies.some((c) => c.node === node) === true
    if (listed || (record === undefined ? isNew(copy) : copy.kind === 'partial')) continue
    await store.dropCopy(copy.egroup)
    report.droppedCopies++
  }
  return report
}

function isNew({ kind, state, length }: CopyInfo): boolean {
  return kind === 'full' && state === 'open' && length === 0
}

async function hasSealed(
  egroup: EgroupId,
  record: EgroupRecord,
  store: ExtentStore,
  report: ReconcileReport,
): Promise<boolean> {
  const info = store.info(egroup)
  if (info === undefined || info.kind !== 'full') return false
  if (info.state === 'sealed') return true
  if (info.length < record.length) return false
  try {
    await store.seal(egroup, Math.max(info.generation, record.generation), record.length)
    report.sealedCopies++
    return true
  } catch {
    return false
  }
}
