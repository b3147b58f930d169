/**
 * What a cluster inside one process is made of, apart from the engine. Two worlds implement it: the real one
 * (real-world.ts: files or memory, wall clock, loopback network, durable catalog) and the simulated one (src/sim/).
 */
import type { NodeId } from '../base/units.ts'
import type { DeviceRecord } from '../cluster/records.ts'
import type { GuestActivity } from '../platform/bulk-work.ts'
import type { BlockDevice, Catalog, Clock, Network, Random, SlicePacker } from '../platform/types.ts'

/** Time, chance and catalog as one participant has them. */
export interface Surroundings {
  readonly clock: Clock
  readonly random: Random
  readonly catalog: Catalog
}

/** Itself the surroundings of the hosts and of the cluster object. */
export interface World extends Surroundings {
  /** The surroundings of one node's CVM. */
  of(node: NodeId): Surroundings
  /** What guests do on the thread that the node's CVM runs on. */
  guests(node: NodeId): GuestActivity
  /** What a CVM compresses large writes with. */
  packer(): SlicePacker
  /** Opens an endpoint on the external network. Throws `IN_USE` while one of this name is open. */
  endpoint(name: string): Network
  /** Opens a device for one life of a CVM; what was written in earlier lives is there. */
  openDevice(node: NodeId, record: DeviceRecord): Promise<BlockDevice>
  /** After everything that uses it has ended. */
  close(): Promise<void>
}
