/**
 * What is sealed does not grow: no sealed copy is longer than the sealed record that lists it (compaction makes it
 * shorter). An owner that was deposed and does not know it, because its CVM stood still for example, is kept from the
 * log by nothing but the fence of each copy. Looked at all through a run: a restart cuts such a copy again.
 * A copy that was completed from a partial one is framed anew, slice by slice as it came, and may be some sectors longer
 * than the log of the owner; so may those that are made from it. Egroups that were localised are not judged.
 */
import type { EgroupId } from '../../base/units.ts'
import type { SimCluster } from '../cluster.ts'

/**
 * Every copy that has grown; empty when all is well. Each CVM's own view of the directory is asked.
 * @param localised egroups of which some copy was completed from a partial one
 */
export function grownCopies(sim: SimCluster, localised: ReadonlySet<EgroupId>): string[] {
  const found: string[] = []
  for (const node of sim.cluster.nodes) {
    const cvm = sim.cvm(node)
    if (cvm === undefined) continue
    for (const { egroup, kind, state, length } of cvm.store.copies()) {
      if (kind !== 'full' || state !== 'sealed' || localised.has(egroup)) continue
      const record = cvm.directory.record(egroup)
      if (record?.state !== 'sealed' || length <= record.length) continue
      if (!record.copies.some((copy) => copy.node === node)) continue
      found.push(
        `sealed: egroup ${egroup} was sealed at ${record.length} bytes, and has ${length} on ${node}`,
      )
    }
  }
  return found
}
