/**
 * What one step of an IO path offers: the local CVM, a peer CVM over the network, and a host's path all are ports.
 * Buffers: `target` is filled and `data` is read until the promise settles.
 */
import type { AllocationRun } from '../api.ts'
import type { VDiskId } from '../base/units.ts'

/** Rare operations that only the owner can do. Plain JSON both ways. */
export type VDiskControl =
  | { readonly type: 'resize'; readonly size: number; readonly discardData: boolean }
  | { readonly type: 'snapshot'; readonly name: string }

export interface StoragePort {
  read(vdisk: VDiskId, offset: number, target: Uint8Array): Promise<void>
  write(vdisk: VDiskId, offset: number, data: Uint8Array, sync: boolean): Promise<void>
  erase(vdisk: VDiskId, offset: number, length: number, sync: boolean): Promise<void>
  flush(vdisk: VDiskId): Promise<void>
  allocation(vdisk: VDiskId, offset: number, length: number): Promise<AllocationRun[]>
  control(vdisk: VDiskId, request: VDiskControl): Promise<unknown>
}
