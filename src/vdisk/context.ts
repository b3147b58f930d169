/** What the parts of one owned vDisk share: made once when the CVM activates it. */

import type { CandidateIndex } from '../dedupe/candidate-index.ts'
import type { StoredSlice } from '../extent-store/types.ts'
import type { Catalog, Clock } from '../platform/types.ts'
import type { SliceReader } from '../replication/slice-reader.ts'
import type { BlockCache } from './block-cache.ts'
import type { IoCounters } from './counters.ts'
import type { PageCache } from './page-cache.ts'

/** Tells locality what was read from where; see locality/. */
export interface ReadObserver {
  /** Slices that a read brought from another node. Their bytes may be kept; called before the read is answered. */
  onFetched(egroup: number, slices: readonly StoredSlice[]): void
  /** A guest read: `remoteBlocks` of its blocks came from another node. */
  onRead(vdisk: number, start: number, count: number, remoteBlocks: number): void
  /** An egroup was read on this node (device read, local or remote). */
  onTouch(egroup: number): void
}

/** What a CVM gives to every vDisk it owns. */
export interface VDiskServices {
  readonly catalog: Catalog
  readonly clock: Clock
  readonly reader: SliceReader
  readonly cache: BlockCache
  readonly pages: PageCache
  readonly candidates: CandidateIndex
  readonly counters: IoCounters
  /** Throws `LEASE_EXPIRED` when this CVM may not serve. */
  readonly assertCanServe: () => void
  readonly onHit: (egroup: number, ref: number) => void
  /** New fingerprints that are durable now, for the peers' indexes. */
  readonly onFingerprints: (hi: number, lo: number, egroup: number, ref: number) => void
  readonly observer: ReadObserver
  /** The vDisk has to be given up: another CVM owns it, or the log's end is unknown. */
  readonly onDeposed: (id: number, error: unknown) => void
  readonly onError: (where: string, error: unknown) => void
}
