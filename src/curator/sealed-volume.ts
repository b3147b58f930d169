/**
 * How much log has been sealed since the last reclaim: a reclaim is due when that is a share of the cluster's SSD space,
 * whatever the interval says. A fast writer that overwrites its data would else fill the nodes between two scans, with
 * bytes that nobody refers to any more; and space that was written before is used again while it is still warm.
 */
import type { EgroupId } from '../base/units.ts'
import type { EgroupRecord } from '../cluster/records.ts'

/** A reclaim is due when as much was sealed as one part in so many of what the SSDs hold. */
const SHARE = 8

export class SealedVolume {
  private readonly open = new Set<EgroupId>()
  private bytes = 0

  /** News of the directory. */
  changed(egroup: EgroupId, record: EgroupRecord | undefined): void {
    if (record?.state === 'open') this.open.add(egroup)
    else if (this.open.delete(egroup) && record !== undefined)
      this.bytes += record.length * record.copies.length
  }

  /** @param ssdBytes size of all SSDs together. */
  isDue(ssdBytes: number): boolean {
    return ssdBytes > 0 && this.bytes >= ssdBytes / SHARE
  }

  /** A reclaim begins: what is sealed from here on counts for the next. */
  reset(): void {
    this.bytes = 0
  }
}
