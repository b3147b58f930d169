/**
 * The simulated world of one cluster: virtual time, modelled devices and network, a catalog as its clients see it, a
 * clock per node; all of it from one seed. What a test may do to it (power, media, links, clocks) is reached from here.
 */
import type { NodeId } from '../base/units.ts'
import type { DeviceRecord } from '../cluster/records.ts'
import type { Surroundings, World } from '../embedded/world.ts'
import { GuestActivity } from '../platform/bulk-work.ts'
import { ChaosDevice, type ChaosSettings, chaosSettings } from '../platform/faults/chaos-device.ts'
import { seededRandom } from '../platform/real/random.ts'
import { HDD, type ModelOverride, overrideModel, SSD } from '../platform/sim/device-models.ts'
import { SimLoop } from '../platform/sim/loop.ts'
import { type NicModel, TEN_GBE } from '../platform/sim/network-model.ts'
import { SimCatalog } from '../platform/sim/sim-catalog.ts'
import { SimClock } from '../platform/sim/sim-clock.ts'
import { SimMedium } from '../platform/sim/sim-device.ts'
import { SimNetwork } from '../platform/sim/sim-network.ts'
import { SimPacker } from '../platform/sim/sim-packer.ts'
import type { BlockDevice, Catalog, Network, Random, SlicePacker } from '../platform/types.ts'

export interface SimWorldOptions {
  readonly seed: number
  readonly ssd?: ModelOverride
  readonly hdd?: ModelOverride
  readonly nic?: NicModel
  /** Devices say that they are sparse. Default `false`. */
  readonly sparse?: boolean
}

/** A device's platter, and the faults of the device that leads to it now. */
export interface SimDisk {
  readonly id: string
  readonly node: NodeId
  readonly medium: SimMedium
  readonly chance: Random
  /** What goes wrong with it, in this life of the CVM and all later ones. */
  readonly chaos: ChaosSettings
  /** Offsets of sectors that cannot be read. */
  readonly badSectors: Set<number>
}

export class SimWorld implements World {
  readonly loop = new SimLoop()
  /** Time as the hosts and the cluster object have it: true time. */
  readonly clock: SimClock
  readonly random: Random
  readonly catalog: Catalog
  readonly catalogServer: SimCatalog
  readonly network: SimNetwork
  private readonly packers: SimPacker
  readonly disks = new Map<string, SimDisk>()
  private readonly options: SimWorldOptions
  private readonly clocks = new Map<NodeId, SimClock>()
  private readonly guestActivity = new Map<NodeId, GuestActivity>()
  private readonly surroundings = new Map<NodeId, Surroundings>()

  constructor(options: SimWorldOptions) {
    this.options = options
    this.clock = new SimClock(this.loop)
    this.random = this.chance(1)
    this.catalogServer = new SimCatalog(this.loop, this.chance(2))
    this.catalog = this.catalogServer.client('hosts')
    this.network = new SimNetwork(this.loop, this.chance(3), { model: options.nic ?? TEN_GBE })
    this.packers = new SimPacker(this.loop, this.chance(4))
  }

  /** Chance of its own for one part of the world, so that a change in one does not change the others. */
  chance(part: number): Random {
    return seededRandom(Math.imul(this.options.seed, 0x9e3779b1) ^ Math.imul(part, 0x85ebca77))
  }

  of(node: NodeId): Surroundings {
    let own = this.surroundings.get(node)
    if (own === undefined) {
      const number = Number(/\d+$/.exec(node)![0])
      const random = this.chance(1000 + number)
      own = { clock: this.clockOf(node), random, catalog: this.catalogServer.client(node) }
      this.surroundings.set(node, own)
    }
    return own
  }

  clockOf(node: NodeId): SimClock {
    let clock = this.clocks.get(node)
    if (clock === undefined) {
      clock = new SimClock(this.loop)
      this.clocks.set(node, clock)
    }
    return clock
  }

  /** Each node is a machine of its own. */
  guests(node: NodeId): GuestActivity {
    let own = this.guestActivity.get(node)
    if (own === undefined) {
      own = new GuestActivity()
      this.guestActivity.set(node, own)
    }
    return own
  }

  packer(): SlicePacker {
    return this.packers
  }

  endpoint(name: string): Network {
    return this.network.endpoint(name)
  }

  openDevice(node: NodeId, record: DeviceRecord): Promise<BlockDevice> {
    const { id, tier, size } = record
    let disk = this.disks.get(id)
    if (disk === undefined) {
      const model =
        tier === 'ssd'
          ? overrideModel(SSD, this.options.ssd ?? {})
          : overrideModel(HDD, this.options.hdd ?? {})
      const { sparse = false } = this.options
      const options = { id, tier, size, isSparse: sparse }
      const medium = new SimMedium(options, this.loop, this.chance(hashOf(id)), model)
      disk = {
        id,
        node,
        medium,
        chance: this.chance(hashOf(id) ^ 0x5bd1),
        chaos: chaosSettings(),
        badSectors: new Set(),
      }
      this.disks.set(id, disk)
    }
    return Promise.resolve(
      new ChaosDevice(disk.medium.open(), this.clockOf(node), disk.chance, disk.chaos, disk.badSectors),
    )
  }

  /** The node's devices lose what was not synced. Its CVM has to be dead already. */
  cutPower(node: NodeId): void {
    for (const disk of this.disks.values()) if (disk.node === node) disk.medium.powerLoss()
  }

  close(): Promise<void> {
    this.loop.stop()
    return Promise.resolve()
  }
}

function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return hash
}
