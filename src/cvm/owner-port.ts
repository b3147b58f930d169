/** IO on vDisks that this CVM owns or has to take over; never sent on, so that two stale views cannot play ping-pong. */
import type { AllocationRun } from '../api.ts'
import type { VDiskId } from '../base/units.ts'
import type { Platform } from '../platform/types.ts'
import type { WriteAttempt } from '../vdisk/attempt-guard.ts'
import type { OwnedVDisk } from '../vdisk/owned-vdisk.ts'
import type { FileServices } from './file-services.ts'
import type { Ownership } from './ownership.ts'
import type { StoragePort, VDiskControl } from './port.ts'

export class OwnerPort implements StoragePort {
  private readonly ownership: Ownership
  private readonly platform: Platform
  private readonly fileServices: FileServices

  constructor(ownership: Ownership, platform: Platform, fileServices: FileServices) {
    this.ownership = ownership
    this.platform = platform
    this.fileServices = fileServices
  }

  async read(vdisk: VDiskId, offset: number, target: Uint8Array): Promise<void> {
    return (await this.owned(vdisk)).readInto(offset, target)
  }

  async write(
    vdisk: VDiskId,
    offset: number,
    data: Uint8Array,
    sync: boolean,
    attempt: WriteAttempt,
  ): Promise<void> {
    return (await this.owned(vdisk)).write(offset, data, sync, attempt)
  }

  async erase(
    vdisk: VDiskId,
    offset: number,
    length: number,
    sync: boolean,
    attempt: WriteAttempt,
  ): Promise<void> {
    return (await this.owned(vdisk)).erase(offset, length, sync, attempt)
  }

  async flush(vdisk: VDiskId): Promise<void> {
    return (await this.owned(vdisk)).flush()
  }

  async allocation(vdisk: VDiskId, offset: number, length: number): Promise<AllocationRun[]> {
    return (await this.owned(vdisk)).allocation(offset, length)
  }

  async control(vdisk: VDiskId, request: VDiskControl): Promise<unknown> {
    const owned = await this.owned(vdisk)
    switch (request.type) {
      case 'resize':
        await owned.resize(request.size, request.discardData)
        return {}
      case 'snapshot':
        return owned.snapshot(request.name, this.platform.clock.wall())
    }
  }

  async files(vdisk: VDiskId, request: Uint8Array): Promise<Uint8Array> {
    return this.fileServices.handle(await this.owned(vdisk), request)
  }

  private owned(vdisk: VDiskId): OwnedVDisk | Promise<OwnedVDisk> {
    return this.ownership.get(vdisk) ?? this.ownership.ensure(vdisk)
  }
}
