/**
 * The devices of one node, over the lives of its CVM: opened at each start, quiet before the next one.
 *
 * A killed CVM may have IO under way that still reaches the medium. `quiesce` waits for it, as a kernel finishes the IO
 * of a dead process before a new one can open the file, so that a new life never meets a late write of the old one.
 */
import { HitherError } from '../base/errors.ts'
import type { NodeId } from '../base/units.ts'
import type { DeviceRecord } from '../cluster/records.ts'
import { FaultDevice } from '../platform/faults/fault-device.ts'
import type { BlockDevice } from '../platform/types.ts'
import type { World } from './world.ts'

export class DeviceRack {
  private readonly node: NodeId
  private readonly world: World
  private readonly records: DeviceRecord[]
  private readonly open = new Map<string, FaultDevice>()

  constructor(node: NodeId, records: readonly DeviceRecord[], world: World) {
    this.node = node
    this.records = [...records]
    this.world = world
  }

  /** Devices for one life of a CVM, without those that have failed. */
  async start(): Promise<BlockDevice[]> {
    for (const record of this.records) {
      if (record.failed === true) continue
      const device = await this.world.openDevice(this.node, record)
      this.open.set(record.id, new FaultDevice(device, this.world.of(this.node).clock))
    }
    return [...this.open.values()]
  }

  /** Resolves when no IO is under way; the devices of the last life do not work any more. */
  async quiesce(): Promise<void> {
    const devices = [...this.open.values()]
    this.open.clear()
    await Promise.allSettled(devices.map((device) => device.close()))
  }

  /** The device dies. Returns the records as they are then. */
  fail(id: string): readonly DeviceRecord[] {
    const index = this.records.findIndex((record) => record.id === id)
    if (index < 0) throw new HitherError('NOT_FOUND', `there is no device ${id}`)
    this.records[index] = { ...this.records[index]!, failed: true }
    this.open.get(id)?.failNow()
    return this.records
  }
}
