/**
 * Copies while the cluster runs, held against the catalog as it is at that moment and not against anybody's view of it.
 *
 * - A copy is made before it is listed, and goes after it has left the record: so a node that is up and listed has it, or leaves
 *   the record soon. Nearly all that breaks this heals with the next scan, and is seen only in between.
 * - What may have to be replayed is whole: a sealed egroup that reaches behind the replay position of its vDisk is as long
 *   on every node that is listed as its record says. Compaction, and completing from slices, drop map records.
 */
import { egroupOfKey } from '../../cluster/records.ts'
import type { Cvm } from '../../cvm/cvm.ts'
import type { SimCluster } from '../cluster.ts'
import type { DirectoryCheck } from './directory.ts'
import type { RootCheck } from './roots.ts'

/**
 * How long a node may be up without a copy that it is listed with: a commit that lists one may come late, and the node's own,
 * which then leaves the record, may be lost once (curator/lost-copies.ts). Virtual ms.
 */
const ABSENT_MS_MAX = 5_000

export class CopyCheck {
  readonly #sim: SimCluster
  readonly #directory: DirectoryCheck
  readonly #roots: RootCheck
  /** "node egroup" of what is listed and absent → since when. */
  #absent = new Map<string, number>()

  constructor(sim: SimCluster, directory: DirectoryCheck, roots: RootCheck) {
    this.#sim = sim
    this.#directory = directory
    this.#roots = roots
  }

  /** Every copy that is listed and has not been there for long, or that could not be replayed; empty when all is well. */
  look(): string[] {
    const sim = this.#sim
    const now = sim.loop.now
    const cvms = new Map<string, Cvm>()
    for (const node of sim.cluster.nodes) {
      const cvm = sim.cvm(node)
      // Copies go with their device, and leave their records later.
      if (cvm?.store.usage().every(({ failed }) => !failed)) cvms.set(node, cvm)
    }
    const found: string[] = []
    const absent = new Map<string, number>()
    for (const [key, record] of this.#directory.current) {
      const egroup = egroupOfKey(key)
      const whole = this.#roots.mayReplay(record)
      for (const { node } of record.copies) {
        const cvm = cvms.get(node)
        if (cvm === undefined) continue
        const info = cvm.store.info(egroup)
        if (info?.kind !== 'full') {
          const name = `${node} ${egroup}`
          const since = this.#absent.get(name) ?? now
          absent.set(name, since)
          if (now - since < ABSENT_MS_MAX) continue
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
    this.#absent = absent
    return found
  }
}
