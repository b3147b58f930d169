/**
 * What one step of an IO path offers: the local CVM, a peer CVM over the network, and a host's path all are ports.
 * Buffers: `target` is filled and `data` is read until the promise settles.
 */
import type { AllocationRun } from '../api.ts'
import type { VDiskId } from '../base/units.ts'
import type { WriteAttempt } from '../vdisk/attempt-guard.ts'

/** Rare operations that only the owner can do. Plain JSON both ways. */
export type VDiskControl =
  | { readonly type: 'resize'; readonly size: number; readonly discardData: boolean }
  | { readonly type: 'snapshot'; readonly name: string }

export interface StoragePort {
  /** `undefined`: it is done. */
  read(vdisk: VDiskId, offset: number, target: Uint8Array): Promise<void> | undefined
  /** `OwnerMoved` when the attempt was meant for another generation of the owner. */
  write(vdisk: VDiskId, offset: number, data: Uint8Array, sync: boolean, attempt: WriteAttempt): Promise<void>
  /** As `write`. */
  erase(vdisk: VDiskId, offset: number, length: number, sync: boolean, attempt: WriteAttempt): Promise<void>
  flush(vdisk: VDiskId): Promise<void>
  allocation(vdisk: VDiskId, offset: number, length: number): Promise<AllocationRun[]>
  control(vdisk: VDiskId, request: VDiskControl): Promise<unknown>
  /** A request to the file system in a files disk (files/messages.ts), and its answer. */
  files(vdisk: VDiskId, request: Uint8Array): Promise<Uint8Array>
}
