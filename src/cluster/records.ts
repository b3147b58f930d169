/**
 * What the catalog holds, key by key. JSON throughout: small, slow state that a person can read.
 *
 *   cluster            ClusterRecord      settings fixed at creation
 *   node/<id>          NodeRecord         a node and its devices
 *   container/<name>   ContainerRecord    policy
 *   vm/<name>          VmRecord           where the VM runs
 *   name/<vdisk name>  {id}               the name space of vDisks
 *   vdisk/<id>         VDiskRecord        what a vDisk is
 *   owner/<id>         OwnerRecord        who serves it; its revision guards every change the owner makes
 *   root/<id>          RootRecord         map root and replay position, from the last checkpoint
 *   snapshot/<id>/<n>  SnapshotRecord     a kept root
 *   egroup/<hex8>      EgroupRecord       the directory
 *   listing/<id>       egroup id          the one that the owner put into the directory last
 *   next/egroup, next/vdisk               id allocation
 *   lease/<node>       LeaseRecord        alive (under the node's lease, not durable)
 *   usage/<node>       UsageRecord        space (under the node's lease, not durable)
 */
import { decodeJson, encodeJson } from '../base/json.ts'
import type { EgroupId, Generation, NodeId, SlotIndex, Tier, VDiskId } from '../base/units.ts'

export interface ClusterRecord {
  readonly version: 1
  readonly nodesPerBlock: number
}

export interface DeviceRecord {
  readonly id: string
  readonly tier: Tier
  readonly size: number
  readonly failed?: boolean
}

export interface NodeRecord {
  readonly node: NodeId
  readonly block: string
  readonly devices: readonly DeviceRecord[]
  /** `draining`: gets no new copies; `removed` nodes have no record. */
  readonly state: 'member' | 'draining'
}

export interface ContainerRecord {
  readonly name: string
  readonly rf: 1 | 2 | 3
  readonly compression: boolean
  readonly dedupe: boolean
  readonly minCopies: number
  readonly durability: 'sync' | 'flush'
  /** Set when it is exported as a file system. */
  readonly export?: ExportRecord
}

export interface ExportRecord {
  readonly allow: readonly string[]
  readonly readOnly: boolean
  readonly squash: 'none' | 'root' | 'all'
}

export interface VmRecord {
  readonly name: string
  readonly node: NodeId
}

export interface VDiskRecord {
  readonly id: VDiskId
  readonly name: string
  readonly size: number
  readonly container: string
  readonly vm?: string
  /** Home when there is no VM. */
  readonly node: NodeId
  readonly readOnly?: boolean
  /** Set when the home has followed the host that uses it: when it did last (wall time, ms), and how often so far. */
  readonly followed?: { readonly at: number; readonly times: number }
}

export interface OwnerRecord {
  readonly node: NodeId
  readonly generation: Generation
}

export interface PageRef {
  readonly egroup: EgroupId
  readonly slot: SlotIndex
}

/** Place in a stream: all frames before it are in the map root. */
export interface ReplayPosition {
  readonly order: number
  readonly offset: number
}

export interface RootRecord {
  /** `null`: nothing was ever written. */
  readonly root: PageRef | null
  /** Inner levels above the leaf pages. */
  readonly levels: number
  readonly replay: ReplayPosition
  readonly mappedBlocks: number
}

export interface SnapshotRecord {
  readonly vdisk: VDiskId
  readonly name: string
  readonly size: number
  readonly createdAt: number
  readonly root: PageRef | null
  readonly levels: number
  readonly mappedBlocks: number
}

export interface CopyRecord {
  readonly node: NodeId
  readonly tier: Tier
}

export interface EgroupRecord {
  /** vDisk whose stream it belongs to. */
  readonly stream: VDiskId
  /** Position within the stream; ascending, with gaps. */
  readonly order: number
  readonly state: 'open' | 'sealed'
  /** Log bytes when sealed; 0 while open. */
  readonly length: number
  readonly generation: Generation
  readonly rf: number
  readonly copies: readonly CopyRecord[]
  /** When it was last moved (wall time, ms): hold time against ping-pong. */
  readonly movedAt?: number
}

export interface LeaseRecord {
  readonly incarnation: string
}

export interface TierUsageRecord {
  readonly usedBytes: number
  readonly sizeBytes: number
  /** Part of `sizeBytes` that the devices keep from user data. */
  readonly reservedBytes: number
}

export interface UsageRecord {
  readonly ssd: TierUsageRecord
  readonly hdd: TierUsageRecord
}

export const keys = {
  cluster: 'cluster',
  node: (id: NodeId) => `node/${id}`,
  container: (name: string) => `container/${name}`,
  vm: (name: string) => `vm/${name}`,
  name: (name: string) => `name/${name}`,
  vdisk: (id: VDiskId) => `vdisk/${id}`,
  owner: (id: VDiskId) => `owner/${id}`,
  root: (id: VDiskId) => `root/${id}`,
  snapshot: (id: VDiskId, name: string) => `snapshot/${id}/${name}`,
  snapshots: (id: VDiskId) => `snapshot/${id}/`,
  listing: (id: VDiskId) => `listing/${id}`,
  egroup: (id: EgroupId) => `egroup/${id.toString(16).padStart(8, '0')}`,
  lease: (id: NodeId) => `lease/${id}`,
  usage: (id: NodeId) => `usage/${id}`,
  nextEgroup: 'next/egroup',
  nextVDisk: 'next/vdisk',
} as const

/** The part of a key behind its last slash. */
export function lastPart(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1)
}

export function egroupOfKey(key: string): EgroupId {
  return Number.parseInt(lastPart(key), 16)
}

export const encodeRecord: (value: unknown) => Uint8Array = encodeJson
export const decodeRecord: <T>(bytes: Uint8Array) => T = decodeJson
