/**
 * The devices of one node, over the lives of its CVM: opened at each start, quiet before the next one.
 *
 * A killed CVM may have IO under way that still reaches the medium. `quiesce` waits for it, as a kernel finishes the IO
 * of a dead process before a new one can open the file, so that a new life never meets a late write of the old one.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { HitherError } from '../base/errors.ts'
import type { DeviceRecord } from '../cluster/records.ts'
import { FaultDevice } from '../platform/faults/fault-device.ts'
import { FileDevice } from '../platform/real/file-device.ts'
import { MemoryDevice } from '../platform/real/memory-device.ts'
import type { BlockDevice, Clock } from '../platform/types.ts'

export class DeviceRack {
  private readonly folder: string | undefined
  private readonly clock: Clock
  private readonly records: DeviceRecord[]
  /** Media of a memory cluster live as long as the rack. */
  private readonly memory = new Map<string, MemoryDevice>()
  private readonly open = new Map<string, FaultDevice>()

  /** @param folder of the node's files; `undefined`: in memory. */
  constructor(folder: string | undefined, records: readonly DeviceRecord[], clock: Clock) {
    this.folder = folder
    this.records = [...records]
    this.clock = clock
  }

  /** Devices for one life of a CVM, without those that have failed. */
  async start(): Promise<BlockDevice[]> {
    if (this.folder !== undefined) await mkdir(this.folder, { recursive: true })
    for (const record of this.records) {
      if (record.failed === true) continue
      this.open.set(record.id, new FaultDevice(await this.medium(record), this.clock))
    }
    return [...this.open.values()]
  }

  /** Resolves when no IO is under way; the devices of the last life do not work any more. */
  async quiesce(): Promise<void> {
    const devices = [...this.open.values()]
    this.open.clear()
    if (this.folder !== undefined) await Promise.allSettled(devices.map((device) => device.close()))
  }

  /** The device dies. Returns the records as they are then. */
  fail(id: string): readonly DeviceRecord[] {
    const index = this.records.findIndex((record) => record.id === id)
    if (index < 0) throw new HitherError('NOT_FOUND', `there is no device ${id}`)
    this.records[index] = { ...this.records[index]!, failed: true }
    this.open.get(id)?.failNow()
    return this.records
  }

  private async medium(record: DeviceRecord): Promise<BlockDevice> {
    const { id, tier, size } = record
    if (this.folder !== undefined) {
      const file = join(this.folder, id.slice(id.lastIndexOf('.') + 1))
      return FileDevice.open(file, { id, tier, size, create: true })
    }
    let device = this.memory.get(id)
    if (device === undefined) {
      device = new MemoryDevice({ id, tier, size })
      this.memory.set(id, device)
    }
    return device
  }
}
