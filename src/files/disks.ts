/** What a file system needs of the vDisks of the cluster: those of its files, and those that are disks of their own. */
import type { NodeId, VDiskId } from '../base/units.ts'
import type { VDiskRecord } from '../cluster/records.ts'

export interface Disks {
  /** Records of all vDisks, as far as the catalog has told; in no order. */
  all(): Iterable<VDiskRecord>
  record(vdisk: VDiskId): VDiskRecord | undefined
  /** Asks the catalog, which may not have told of the vDisk yet. */
  refresh(vdisk: VDiskId): Promise<void>
  /** Calls when a record changed, came or went. Returns what ends that. */
  onChange(changed: (record: VDiskRecord | undefined) => void): () => void
  /** A vDisk with this name, whose data should be near `node`. */
  create(name: string, container: string, size: number, node: NodeId): Promise<VDiskId>
  rename(vdisk: VDiskId, name: string): Promise<void>
  /** Also when it is gone already. */
  remove(vdisk: VDiskId): Promise<void>
  resize(vdisk: VDiskId, size: number): Promise<void>
  write(vdisk: VDiskId, offset: number, data: Uint8Array): Promise<void>
  /** Inside its size. */
  erase(vdisk: VDiskId, offset: number, length: number): Promise<void>
}
