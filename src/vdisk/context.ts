/** What the parts of one owned vDisk share: made once when the CVM activates it. */

import type { CandidateIndex } from '../dedupe/candidate-index.ts'
import type { StoredSlice } from '../extent-store/types.ts'
import type { Catalog, Clock, SlicePacker } from '../platform/types.ts'
import type { SliceReader } from '../replication/slice-reader.ts'
import type { BatchPool } from './batch.ts'
import type { BlockCache } from './block-cache.ts'
import type { IoCounters } from './counters.ts'
import type { IdleCheckpoints } from './idle-checkpoints.ts'
import type { PageCache } from './page-cache.ts'

/** Slices of one egroup that came from another node. */
export interface FetchedGroup {
  readonly egroup: number
  readonly slices: readonly StoredSlice[]
}

/** Where the blocks of one read came from. */
export interface ReadSources {
  /** Blocks that crossed the wire for this read. */
  remoteBlocks: number
  /** Blocks from a partial copy or a prefetch of this node: without them they would have crossed the wire now. */
  heldBlocks: number
  /** Those of `heldBlocks` that waited for a prefetch under way. */
  lateBlocks: number
  /** What crossed the wire. */
  readonly fetched: FetchedGroup[]
}

/** Is told what was read from where, and may bring data nearer; see cvm/localiser.ts. Must not throw. */
export interface ReadObserver {
  /** A guest read of blocks `start` … `start + count − 1`. */
  onRead(vdisk: number, start: number, count: number, sources: ReadSources): void
  /** An egroup was read for a guest, from a device of this node or over the wire. */
  onTouch(egroup: number): void
  /** Whether what this node has of the egroup is a partial copy. */
  isPartial(egroup: number): boolean
  /** Those of `slots` that no copy on this node holds. */
  lacking(egroup: number, slots: readonly number[]): number[]
}

/** What a CVM gives to every vDisk it owns. */
export interface VDiskServices {
  readonly catalog: Catalog
  readonly clock: Clock
  readonly packer: SlicePacker | undefined
  readonly reader: SliceReader
  readonly cache: BlockCache
  readonly pages: PageCache
  readonly candidates: CandidateIndex
  readonly batches: BatchPool
  readonly idleCheckpoints: IdleCheckpoints
  readonly counters: IoCounters
  /** Throws `LEASE_EXPIRED` when this CVM may not serve. */
  readonly assertCanServe: () => void
  /** Whose log an egroup is part of. */
  readonly streamOf: (egroup: number) => number | undefined
  readonly onHit: (egroup: number, ref: number) => void
  /** New fingerprints that are durable now, for the peers' indexes. */
  readonly onFingerprints: (hi: number, lo: number, egroup: number, ref: number) => void
  readonly observer: ReadObserver
  /** No node has room for a write: `true` when space has been got back since, and it is worth trying again. */
  readonly makeRoom: () => Promise<boolean>
  /** The vDisk has to be given up: another CVM owns it, or the log's end is unknown. */
  readonly onDeposed: (id: number, error: unknown) => void
  readonly onError: (where: string, error: unknown) => void
}
