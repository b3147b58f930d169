/**
 * What the cluster may still be asked for: the slots that the last checkpoint of a vDisk or a snapshot refers to, by the
 * walk of the Curator (curator/mark.ts), from the roots as they are in the catalog.
 */
import { decodeRecord, type RootRecord, type SnapshotRecord } from '../../cluster/records.ts'
import { markTree, type TreeRoot } from '../../curator/mark.ts'
import { SlotSets } from '../../curator/slot-sets.ts'
import type { Cvm } from '../../cvm/cvm.ts'
import type { SimCluster } from '../cluster.ts'

/** @param cvm reads the map pages. Rejects when one cannot be read. */
export async function liveSlots(sim: SimCluster, cvm: Cvm): Promise<SlotSets> {
  const { catalogServer: catalog } = sim.world
  const trees: TreeRoot[] = [
    ...catalog.list('root/').map(({ value }) => decodeRecord<RootRecord>(value)),
    ...catalog.list('snapshot/').map(({ value }) => decodeRecord<SnapshotRecord>(value)),
  ]
  const marks = new SlotSets()
  const deps = { reader: cvm.reader, rest: () => cvm.platform.clock.turn(), proceed: () => {} }
  for (const tree of trees) await markTree(tree, marks, deps)
  return marks
}
