/**
 * Ids that are never used twice. A CVM reserves a range of egroup ids with one compare-and-set, so that opening an
 * egroup costs no extra catalog commit; what is left of a range at a crash is lost, which harms nothing. So is a range
 * whose commit was not answered: it may have been applied, so the next one is taken.
 */
import type { EgroupId, VDiskId } from '../base/units.ts'
import type { Catalog } from '../platform/types.ts'
import { changeRecord } from './change-record.ts'
import { decodeRecord, keys } from './records.ts'

const EGROUP_RANGE = 64

export class IdAllocator {
  private readonly catalog: Catalog
  private next = 0
  private end = 0
  private refill: Promise<void> | undefined
  /** Grows with each call of `startNewRange`. */
  private epoch = 0

  constructor(catalog: Catalog) {
    this.catalog = catalog
  }

  async egroup(): Promise<EgroupId> {
    while (this.next >= this.end) {
      this.refill ??= this.reserve().finally(() => {
        this.refill = undefined
      })
      await this.refill
    }
    return this.next++
  }

  /** Gives up what is left of the reserved range: egroups opened from here on are above the watermark of a later call. */
  startNewRange(): void {
    this.next = this.end
    this.epoch++
  }

  async vdisk(): Promise<VDiskId> {
    return advance(this.catalog, keys.nextVDisk, 1)
  }

  /** First id that no CVM has reserved yet: everything older is smaller. */
  async egroupWatermark(): Promise<EgroupId> {
    const entry = await this.catalog.get(keys.nextEgroup)
    return entry === undefined ? 1 : decodeRecord<number>(entry.value)
  }

  private async reserve(): Promise<void> {
    const { epoch } = this
    const first = await advance(this.catalog, keys.nextEgroup, EGROUP_RANGE)
    // A watermark may have been taken above this range meanwhile.
    if (epoch !== this.epoch) return
    this.next = first
    this.end = first + EGROUP_RANGE
  }
}

/** The number before. Rejects with `TIMEOUT` when the catalog cannot even be read. */
async function advance(catalog: Catalog, key: string, by: number): Promise<number> {
  const after = await changeRecord<number>(catalog, key, (value = 1) => value + by)
  return after! - by
}
