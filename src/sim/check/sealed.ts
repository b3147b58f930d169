/**
 * What is sealed does not grow: no sealed copy is longer than the sealed record that lists it (compaction makes it
 * shorter). An owner that was deposed and does not know it, because its CVM stood still for example, is kept from the
 * log by nothing but the fence of each copy. Looked at all through a run: a restart cuts such a copy again.
 */
import type { SimCluster } from '../cluster.ts'

/** Every copy that has grown; empty when all is well. Each CVM's own view of the directory is asked. */
export function grownCopies(sim: SimCluster): string[] {
  const found: string[] = []
  for (const node of sim.cluster.nodes) {
    const cvm = sim.cvm(node)
    if (cvm === undefined) continue
    for (const { egroup, kind, state, length } of cvm.store.copies()) {
      if (kind !== 'full' || state !== 'sealed') continue
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
