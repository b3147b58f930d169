/**
 * One node's extent store as the rest of the cluster sees it. The local store and the client of a peer both are one,
 * so that fan-out, repair, rebuild and moves are written once and never ask where a copy is.
 */
import type { Bitset } from '../base/bitset.ts'
import type { EgroupId, Generation, NodeId, SlotIndex, Tier, VDiskId } from '../base/units.ts'
import type {
  AppendRequest,
  CopyInfo,
  CopyState,
  ScrubReport,
  SliceRead,
  SlotSummary,
  SpaceUse,
  StoredSlice,
} from '../extent-store/types.ts'

export interface NewCopy {
  readonly egroup: EgroupId
  readonly stream: VDiskId
  readonly generation: Generation
  readonly tier: Tier
  /** Default: `data`. */
  readonly use?: SpaceUse
  /** Log bytes that it has room for. Default: EGROUP_BYTES. */
  readonly roomBytes?: number
}

export interface PullRequest extends NewCopy {
  /** Node that has a sealed copy to take it from. */
  readonly from: NodeId
}

/** All calls reject with a `HitherError`; a peer that is gone gives `CVM_DOWN` or `TIMEOUT`. */
export interface NodeStore {
  readonly node: NodeId
  createCopy(copy: NewCopy): Promise<void>
  append(request: AppendRequest): Promise<void>
  syncCopy(egroup: EgroupId): Promise<void>
  fence(egroup: EgroupId, generation: Generation): Promise<{ length: number; state: CopyState }>
  seal(egroup: EgroupId, generation: Generation, length: number): Promise<void>
  copyInfo(egroup: EgroupId): Promise<CopyInfo | undefined>
  readSlots(egroup: EgroupId, slots: readonly SlotIndex[]): Promise<SliceRead[]>
  /** Raw log bytes; the caller's, who may say that it is done with them. */
  readLog(egroup: EgroupId, offset: number, length: number): Promise<Uint8Array>
  /** Nobody uses what `readLog` returned any more: its memory may carry other bytes. */
  doneWith(log: Uint8Array): void
  slots(egroup: EgroupId): Promise<SlotSummary[]>
  dropCopy(egroup: EgroupId): Promise<void>
  /** Drops the copy if it is partial still: what has been completed meanwhile may be listed. */
  dropPartial(egroup: EgroupId): Promise<void>
  compact(egroup: EgroupId, live: Bitset): Promise<{ freedBytes: number }>
  repairSlot(egroup: EgroupId, slice: StoredSlice): Promise<void>
  scrub(egroup: EgroupId): Promise<ScrubReport>
  moveTier(egroup: EgroupId, tier: Tier): Promise<{ movedBytes: number }>
  /** The node makes itself a full sealed copy from a peer's. */
  pull(request: PullRequest): Promise<{ bytes: number }>
}

/** Finds the store of any node. */
export interface NodeStores {
  readonly self: NodeId
  of(node: NodeId): NodeStore
}
