/**
 * Copies while the cluster runs, held against the catalog as it is at that moment and not against anybody's view of it.
 *
 * - A copy is made before it is listed, and goes after it has left the record: so a node that is up and listed has it.
 *   Nearly all that breaks this heals with the next scan, and is seen only in between.
 * - What may have to be replayed is whole: a sealed egroup that reaches behind the replay position of its vDisk is as long
 *   on every node that is listed as its record says. Compaction, and completing from slices, drop map records.
 */
import { egroupOfKey } from '../../cluster/records.ts'
import type { Cvm } from '../../cvm/cvm.ts'
import type { SimCluster } from '../cluster.ts'
import type { DirectoryCheck } from './directory.ts'
import type { RootCheck } from './roots.ts'

/** Every copy that is listed and not there, or that could not be replayed; empty when all is well. */
export function copyFaults(sim: SimCluster, directory: DirectoryCheck, roots: RootCheck): string[] {
  const cvms = new Map<string, Cvm>()
  for (const node of sim.cluster.nodes) {
    const cvm = sim.cvm(node)
    // Copies go with their device, and leave their records later.
    if (cvm?.store.usage().every(({ failed }) => !failed)) cvms.set(node, cvm)
  }
  const found: string[] = []
  for (const [key, record] of directory.current) {
    const egroup = egroupOfKey(key)
    const whole = roots.mayReplay(record)
    for (const { node } of record.copies) {
      const cvm = cvms.get(node)
      if (cvm === undefined) continue
      const info = cvm.store.info(egroup)
      if (info?.kind !== 'full') {
        found.push(
          `copies: egroup ${egroup} is listed on ${node}, which has ${info?.kind ?? 'no'} copy of it`,
        )
      } else if (whole && info.state === 'sealed' && info.length !== record.length) {
        found.push(
          `copies: egroup ${egroup} may have to be replayed up to ${record.length}, and has ${info.length} bytes on ${node}`,
        )
      }
    }
  }
  return found
}
