/**
 * How hot remote data comes to the node that reads it: one interface, four rules (`never`, `classic`, `keep`,
 * `readahead`). After a VM has moved, its new owner tells the policy of every read of its vDisks, and the policy
 * answers what to do with the bytes:
 *
 *   red    what a read had to wait for on the wire
 *   keep   red bytes are stored in a partial copy, so that they cross the wire once
 *   green  bytes fetched ahead of need, because the policy expects them to be read
 *
 * A policy is pure bookkeeping: no clock (`now` is passed in), no IO, no randomness, bounded memory, and it may be
 * told of reads while everything is still local: what it learns then is worth something after the move. It never
 * sees which blocks are local; the caller drops from a prefetch what is local already, or a hole.
 */

import type { LocalityPolicyName } from '../api.ts'
import type { BlockIndex, VDiskId } from '../base/units.ts'

export type { LocalityPolicyName } from '../api.ts'

/** One read as the owner served it. Its blocks are `start` … `start + count − 1`. */
export interface ReadSeen {
  readonly vdisk: VDiskId
  readonly start: BlockIndex
  /** At least 1. */
  readonly count: number
  /** Blocks that no copy on this node holds and no prefetch is bringing: they cross the wire for this read. */
  readonly remoteBlocks: number
  /** Blocks served from a partial copy, or from a prefetch under way: without the policy they would be remote. */
  readonly heldBlocks: number
  /** Those of `heldBlocks` that had to wait for a prefetch under way. */
  readonly lateBlocks: number
  /** Milliseconds, monotonic. */
  readonly now: number
}

/** What made the policy expect that a range will be read. */
export type PrefetchReason = 'stream' | 'region' | 'group'

export interface PrefetchRange {
  readonly start: BlockIndex
  /** At least 1. May reach past the end of the vDisk: the caller cuts it. */
  readonly count: number
  readonly reason: PrefetchReason
}

export interface ReadDecision {
  /** Store what this read fetched in a partial copy. */
  readonly keep: boolean
  /** Fetch these too, and store them; after the read, below guest IO. */
  readonly prefetch: readonly PrefetchRange[]
}

/** An egroup of which this node has a partial copy. */
export interface CompletionView {
  /** Bytes of the egroup that are in use, as stored. */
  readonly liveBytes: number
  /** Those of `liveBytes` that the partial copy holds. */
  readonly heldBytes: number
  /** Touches from this node in the touch window (heat.ts). */
  readonly randomTouches: number
  readonly sequentialTouches: number
}

export interface LocalityPolicy {
  readonly name: LocalityPolicyName
  /** Called for every read of a vDisk that this node owns. Cheap: no allocation unless it asks for a prefetch. */
  onRead(read: ReadSeen): ReadDecision
  /** Tells how many blocks of a range the caller did fetch, the rest being local or holes. Once per range. */
  onPrefetched(vdisk: VDiskId, range: PrefetchRange, fetchedBlocks: number): void
  /** Whether the partial copy is worth completing and exchanging for a remote copy. */
  shouldComplete(view: CompletionView): boolean
  /** Drops what is known of a vDisk: it was deleted, or has left this node. */
  forget(vdisk: VDiskId): void
}

const NO_RANGES: readonly PrefetchRange[] = []
/** Read it over the wire and let it go. */
export const LET_GO: ReadDecision = { keep: false, prefetch: NO_RANGES }
/** Store what was read, and nothing more. */
export const KEEP_ONLY: ReadDecision = { keep: true, prefetch: NO_RANGES }

/** Part of an egroup's live bytes at which keeping policies complete it: the rest is cheap then. */
const COMPLETE_HELD_MIN = 7 / 8

/** Enough is here already that the missing rest (at most an eighth) is cheaper than a partial copy beside RF copies. */
export function isNearlyHeld(view: CompletionView): boolean {
  return view.heldBytes > 0 && view.heldBytes >= view.liveBytes * COMPLETE_HELD_MIN
}
