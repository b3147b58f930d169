/** What the jobs of the Curator get: the parts of a CVM below this folder, and small views of those above it. */
import type { ClusterEventBody } from '../api.ts'
import type { Bitset } from '../base/bitset.ts'
import { HitherError } from '../base/errors.ts'
import type { NodeId, Tier, VDiskId } from '../base/units.ts'
import type { IdAllocator } from '../cluster/ids.ts'
import type { Membership } from '../cluster/membership.ts'
import type { PlacementNode } from '../cluster/placement.ts'
import type { RootRecord } from '../cluster/records.ts'
import type { CandidateIndex } from '../dedupe/candidate-index.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type { BulkWork } from '../platform/bulk-work.ts'
import type { Platform } from '../platform/types.ts'
import type { Directory } from '../replication/directory.ts'
import type { NodeStores } from '../replication/node-store.ts'
import type { RpcEndpoint } from '../replication/rpc.ts'
import type { SliceReader } from '../replication/slice-reader.ts'

/** The vDisks of this CVM. */
export interface OwnedStreams {
  /** vDisks served here now. */
  ids(): Iterable<VDiskId>
  /** Serves the vDisk, activating it if need be (else `NOT_OWNER`), and checkpoints it behind every write that has begun. */
  checkpoint(vdisk: VDiskId): Promise<RootRecord>
  /** Serves the vDisk, and seals what is open of its stream. */
  rotate(vdisk: VDiskId): Promise<void>
  /** Resolves when every activation that is under way now has ended. */
  activationsEnded(): Promise<void>
  /** The vDisk was deleted: nothing of it is applied here any more. */
  drop(vdisk: VDiskId): void
}

/** Candidates that writes looked at while a reclaim runs. */
export interface ReclaimNotes {
  /** Starts anew. */
  begin(): void
  end(): void
  /** Since `begin`, by egroup; `undefined` when no reclaim runs here. */
  readonly noted: ReadonlyMap<number, Bitset> | undefined
}

/** Which nodes can take copies. */
export interface CuratorSpace {
  candidates(avoid: ReadonlySet<NodeId>): { readonly nodes: PlacementNode[] }
  tierFor(node: NodeId): Tier
  /** Tells the peers now what this node has free. */
  publish(): Promise<void>
}

export interface CuratorCounters {
  repairedSlices: number
  corruptSlices: number
  backgroundBytes: number
}

export interface CuratorContext {
  readonly platform: Platform
  readonly bulk: BulkWork
  readonly membership: Membership
  readonly directory: Directory
  readonly store: ExtentStore
  readonly stores: NodeStores
  readonly ids: IdAllocator
  readonly rpc: RpcEndpoint
  readonly reader: SliceReader
  readonly candidates: CandidateIndex
  readonly notes: ReclaimNotes
  readonly gossip: { flush(): void }
  readonly streams: OwnedStreams
  readonly space: CuratorSpace
  readonly counters: CuratorCounters
  readonly emit: (event: ClusterEventBody) => void
  readonly onError: (where: string, error: unknown) => void
  /** Throws `CVM_DOWN` when this CVM is stopping: long jobs ask between two steps. */
  readonly proceed: () => void
}

/** A job cannot be done to its end now; nothing is wrong. */
export function putOff(reason: string): HitherError {
  return new HitherError('CONFLICT', reason)
}
