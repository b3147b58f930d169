/**
 * Units and ids. Sizes are bytes and plain numbers (2^53 is enough for every offset; BigInt arithmetic costs
 * 25 to 30 times more). Ids are branded, so that a slot cannot be passed for a block.
 */

export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB
export const TiB = 1024 * GiB

/** The unit of fingerprint, map and cache. */
export const BLOCK_BYTES = 4 * KiB
/** vDisk address space that one leaf page of the map describes. */
export const VBLOCK_BYTES = 1 * MiB
export const BLOCKS_PER_VBLOCK = VBLOCK_BYTES / BLOCK_BYTES
/** Largest slice (compressed run): blocks. */
export const SLICE_BLOCKS_MAX = 8
/** Frames start on a sector boundary. 512 B: the smallest unit that a disk writes atomically. */
export const SECTOR_BYTES = 512
/** Log capacity of one extent group. */
export const EGROUP_BYTES = 4 * MiB
/** Slots per egroup: 16 bits less one value kept free. */
export const SLOTS_MAX = 65_535
/** Largest vDisk. */
export const VDISK_BYTES_MAX = 64 * TiB
/** Largest payload of one read or write at the API and at the doors. */
export const IO_BYTES_MAX = 32 * MiB

/** `node-1`, `node-2`, … */
export type NodeId = string & { readonly unit?: 'node' }
/** Cluster-wide, ascending, never used twice. 1 … 2^32−2. 0 means "hole" in a map entry. */
export type EgroupId = number & { readonly unit?: 'egroup' }
/** Index of a slice within its egroup. Stable for the life of the egroup, through every compaction. */
export type SlotIndex = number & { readonly unit?: 'slot' }
/** Index of a 4 KiB block within a vDisk. */
export type BlockIndex = number & { readonly unit?: 'block' }
/** Number of a vDisk (1 … 2^32−1), also the number of its stream. */
export type VDiskId = number & { readonly unit?: 'vdisk' }
/** Grows by one with each change of owner, and fences the old one. */
export type Generation = number & { readonly unit?: 'generation' }

export type Tier = 'ssd' | 'hdd'

export function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit
}

export function alignDown(value: number, unit: number): number {
  return value - (value % unit)
}
