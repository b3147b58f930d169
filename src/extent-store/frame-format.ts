/**
 * The frame on disk: what one group commit appends to an egroup. Constants only; frame-writer.ts builds frames,
 * frame-reader.ts reads them, docs/on-disk-format.md draws them.
 *
 *   header 64 B | slot table | records | fingerprints | zeros to 8 B | payload | zeros to a sector
 *
 * Why it looks so:
 * - The header is the only place that names the egroup, the place in it, and the first slot number. Slot numbers in
 *   the table, and references of records to the frame's own egroup, are relative. So the same built frame can be
 *   sealed again for another egroup when an append failed: only the header changes.
 * - The header's checksum covers the header and all tables; the slot table holds the checksum of every slice. A frame
 *   is valid when all of these hold. Every byte that is ever read is covered, and each is hashed once (decision 0002).
 * - All the small parts stand in front, so that a scan reads heads and skips payloads.
 */
import { BLOCK_BYTES, SLICE_BLOCKS_MAX } from '../base/units.ts'

/** "HFRM", little endian. */
export const FRAME_MAGIC = 0x4d524648
export const FRAME_VERSION = 1

export const HEADER_BYTES = 64
export const SLOT_BYTES = 24
export const RECORD_BYTES = 20
export const FINGERPRINT_BYTES = 8
/** The payload starts on a multiple of this. */
export const PAYLOAD_ALIGN = 8

/** Offsets of the header's fields. */
export const HEADER = {
  magic: 0,
  version: 4,
  flags: 6,
  egroup: 8,
  generation: 12,
  offset: 16,
  frameBytes: 20,
  baseSlot: 24,
  slotCount: 28,
  recordCount: 32,
  fingerprintCount: 36,
  payloadOffset: 40,
  payloadBytes: 44,
  stream: 48,
  reserved: 52,
  checksumLo: 56,
  checksumHi: 60,
} as const

/** Offsets of the fields of a slot table entry. */
export const SLOT = {
  slot: 0,
  payloadOffset: 4,
  /** Stored bytes in the low 24 bits, then 4 bits of codec, 4 bits of kind. */
  meta: 8,
  rawBytes: 12,
  checksumLo: 16,
  checksumHi: 20,
} as const

/** Offsets of the fields of a record. */
export const RECORD = {
  /** Type in the low 8 bits, count of blocks in the other 24. */
  typeCount: 0,
  startLo: 4,
  startHi: 8,
  /** 0: the frame's own egroup, and `ref` holds a relative slot. */
  egroup: 12,
  /** slot · 8 + sub-block. */
  ref: 16,
} as const

/** Blocks start … start+count−1 read sub-blocks sub … sub+count−1 of one slot. */
export const RECORD_MAPPED = 1
/** Blocks start … start+count−1 read as zeros. */
export const RECORD_HOLE = 2
/** Most blocks that one record can name. */
export const RECORD_BLOCKS_MAX = 0xff_ffff

export const SLICE_RAW_BYTES_MAX = SLICE_BLOCKS_MAX * BLOCK_BYTES
/** A payload larger than this is no frame of ours: it bounds what a reader believes. */
export const FRAME_BYTES_MAX = 0x100_0000

/** Packs the third word of a slot table entry. */
export function packMeta(storedBytes: number, codec: number, kind: number): number {
  return (storedBytes | (codec << 24) | (kind << 28)) >>> 0
}

export function metaStoredBytes(meta: number): number {
  return meta & 0xff_ffff
}

export function metaCodec(meta: number): number {
  return (meta >>> 24) & 15
}

export function metaKind(meta: number): number {
  return meta >>> 28
}

/** The last word of a mapped record. */
export function packRef(slot: number, sub: number): number {
  return slot * 8 + sub
}
