/**
 * Snapshots that clones of a vDisk as it is now are made from: hidden, and gone when the clone has a root of its own.
 * One that is left behind (nobody answered when it was to be removed, or it was taken after its clone was given up)
 * goes with the next clone of the same vDisk. A clone is created only while its snapshot is there, so that taking
 * away too much costs a `CONFLICT`, never data.
 */
import { codeOf } from '../base/errors.ts'
import type { VDiskId } from '../base/units.ts'
import { keys, lastPart } from '../cluster/records.ts'
import type { Catalog, Random } from '../platform/types.ts'

/** Names that start with this are the cluster's own. */
export const HIDDEN = '.'
const CLONE = `${HIDDEN}clone-`

export class HiddenSnapshots {
  private readonly catalog: Catalog
  private readonly random: Random
  private readonly take: (vdisk: VDiskId, name: string) => Promise<unknown>
  private readonly inUse = new Set<string>()

  /** `take` has the vDisk's owner take a snapshot, across failures. */
  constructor(catalog: Catalog, random: Random, take: (vdisk: VDiskId, name: string) => Promise<unknown>) {
    this.catalog = catalog
    this.random = random
    this.take = take
  }

  /** Runs `work` with the name of a snapshot of the vDisk as it is now. */
  async with<T>(vdisk: VDiskId, work: (snapshot: string) => Promise<T>): Promise<T> {
    const name = CLONE + this.random.u32().toString(16)
    this.inUse.add(name)
    try {
      await this.take(vdisk, name).catch((error: unknown) => {
        // Nobody else uses the name: an earlier attempt of this very call was not answered.
        if (codeOf(error) !== 'ALREADY_EXISTS') throw error
      })
      return await work(name)
    } finally {
      this.inUse.delete(name)
      // The outcome of the clone is known, and is what counts.
      await this.sweep(vdisk).catch(() => {})
    }
  }

  private async sweep(vdisk: VDiskId): Promise<void> {
    const left = (await this.catalog.list(keys.snapshots(vdisk)))
      .map(({ key }) => key)
      .filter((key) => lastPart(key).startsWith(CLONE) && !this.inUse.has(lastPart(key)))
    if (left.length > 0) await this.catalog.commit({ remove: left })
  }
}
