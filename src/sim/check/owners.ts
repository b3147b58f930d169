/**
 * One owner at a time. Two looks: the catalog's history (each change of a vDisk's owner record raises its generation),
 * and the CVMs themselves (of all that hold the vDisk and an unexpired lease, at most one).
 */
import type { NodeId } from '../../base/units.ts'
import { decodeRecord, type OwnerRecord } from '../../cluster/records.ts'
import type { SimCluster } from '../cluster.ts'

export class OwnerCheck {
  private readonly sim: SimCluster
  private readonly onViolation: (what: string) => void
  private readonly generations = new Map<string, number>()

  constructor(sim: SimCluster, onViolation: (what: string) => void) {
    this.sim = sim
    this.onViolation = onViolation
  }

  /** Told of every change of the catalog, in order. */
  changed(key: string, value: Uint8Array | undefined): void {
    if (!key.startsWith('owner/')) return
    if (value === undefined) {
      this.generations.delete(key)
      return
    }
    const { generation, node } = decodeRecord<OwnerRecord>(value)
    const before = this.generations.get(key)
    if (before !== undefined && generation <= before) {
      this.onViolation(`owner: ${key} went from generation ${before} to ${generation} (${node})`)
    }
    this.generations.set(key, generation)
  }

  /** Who serves what at this moment. */
  look(): void {
    const serving = new Map<number, NodeId>()
    for (const node of this.sim.cluster.nodes) {
      const cvm = this.sim.cvm(node)
      if (cvm === undefined || !cvm.membership.canServe()) continue
      for (const vdisk of cvm.ownership.owned()) {
        const other = serving.get(vdisk.id)
        if (other !== undefined)
          this.onViolation(`owner: vDisk ${vdisk.id} is served by ${other} and ${node}`)
        serving.set(vdisk.id, node)
      }
    }
  }
}
