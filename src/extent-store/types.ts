/** What the rest of the engine sees of one node's extent store: the shapes that cross its boundary. */
import type { HitherError } from '../base/errors.ts'
import type { EgroupId, Generation, NodeId, SlotIndex, Tier, VDiskId } from '../base/units.ts'
import type { BulkWork } from '../platform/bulk-work.ts'
import type { BlockDevice } from '../platform/types.ts'

/** How a slice is stored. */
export const CODEC_RAW = 0
export const CODEC_LZ4 = 1
/** What a slice holds. */
export const KIND_DATA = 0
export const KIND_PAGE = 1

/** One slice as it stands in an egroup. `bytes` is as stored (compressed when `codec` says so). */
export interface StoredSlice {
  readonly slot: SlotIndex
  readonly codec: number
  readonly kind: number
  /** Length once decompressed: 1 to 8 blocks for data, at most 32 KiB. */
  readonly rawBytes: number
  /** xxHash64 of `bytes`, as two unsigned 32-bit halves. */
  readonly checksumHi: number
  readonly checksumLo: number
  readonly bytes: Uint8Array
}

/** What it takes to unpack a slice. */
export type EncodedSlice = Pick<StoredSlice, 'codec' | 'rawBytes' | 'bytes'>

/** Result of asking a copy for a slot. */
export type SliceRead =
  | { readonly status: 'ok'; readonly slice: StoredSlice }
  /** The copy does not hold the slot (partial copy, or reclaimed). */
  | { readonly status: 'missing'; readonly slot: SlotIndex }
  /** Checksum wrong or device error: repair it from another copy. */
  | { readonly status: 'corrupt'; readonly slot: SlotIndex }

export type CopyKind = 'full' | 'partial'
export type CopyState = 'open' | 'sealed'

/** One copy on this node. A fresh object each time; a snapshot of the moment. */
export interface CopyInfo {
  readonly egroup: EgroupId
  readonly stream: VDiskId
  readonly kind: CopyKind
  readonly state: CopyState
  readonly device: string
  readonly tier: Tier
  readonly generation: Generation
  /** Log bytes that are valid on this copy (after compaction: less than the directory's sealed length). */
  readonly length: number
  /** Bytes of the device that the copy occupies. */
  readonly allocatedBytes: number
  readonly slotCount: number
}

/** One frame to append: the parts, one after the other, are the frame; together a multiple of SECTOR_BYTES. */
export interface AppendRequest {
  readonly egroup: EgroupId
  readonly generation: Generation
  /** Must equal the copy's length. */
  readonly offset: number
  readonly parts: readonly Uint8Array[]
  /** Durable when the promise resolves. */
  readonly sync: boolean
}

export interface DeviceUsage {
  readonly id: string
  readonly tier: Tier
  readonly failed: boolean
  readonly usedBytes: number
  readonly sizeBytes: number
  /** Part of `sizeBytes` that user data cannot have. */
  readonly reservedBytes: number
}

export interface ExtentStoreOptions {
  readonly node: NodeId
  /** The node's devices. They stay the caller's: `close` of the store does not close them. */
  readonly devices: readonly BlockDevice[]
  /** Told once for each device that is out of service: damaged, of another node, or failed. Never throws. */
  readonly onDeviceFailed?: (id: string, error: HitherError) => void
  /** Budget for slot indexes of sealed and partial copies, bytes. Default 32 MiB. */
  readonly slotIndexBytes?: number
  /** What rebuilds, scrubs and compactions go by. Default: there are no guests. */
  readonly bulk?: BulkWork
}

/**
 * What space is taken for, which says how far into a device's log reserve it may go (device-layout.ts).
 *   data      user data, and copies that are moved or rebuilt: not at all
 *   records   trims and zeroes, and frames that were under way when a copy failed: half of it
 *   map       map pages, without which a reclaim cannot give anything back: all of it
 */
export type SpaceUse = 'data' | 'records' | 'map'

/** What a new copy is of, and where it should go. `generation` is its first fence. */
export interface NewCopy {
  readonly egroup: EgroupId
  readonly stream: VDiskId
  readonly generation: Generation
  readonly tier: Tier
  /** Default: `data`. */
  readonly use?: SpaceUse
  /** Log bytes that an open copy has room for. Default: EGROUP_BYTES. */
  readonly roomBytes?: number
}

export interface SlotSummary {
  readonly slot: SlotIndex
  readonly storedBytes: number
  readonly kind: number
}

/** Fingerprint of one block: `sub` is its index within the slice `slot`. */
export interface FingerprintEntry {
  readonly hi: number
  readonly lo: number
  readonly slot: SlotIndex
  readonly sub: number
}

export interface ScrubReport {
  readonly checkedBytes: number
  readonly corruptSlots: readonly SlotIndex[]
  /** Frame heads are bad: slots may be unknown, and the whole copy must be imported again. */
  readonly damaged: boolean
}
