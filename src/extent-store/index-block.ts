/**
 * The index block: the slot index of a sealed copy, written once behind its log, so that the first read after a start
 * costs one device read instead of a scan of all frame heads. It says nothing that the frames do not say: a damaged
 * one is ignored, and rewritten by the next scrub.
 *
 *   u32 magic | u16 version | u16 reserved | u32 egroup | u32 log length | u32 slots | u32 reserved | u64 checksum
 *   then per slot, in the order of the log: u32 slot | u32 log offset | u32 meta | u32 raw bytes | u64 checksum
 *   zeros to a sector
 *
 * The checksum covers the whole block, its own field taken as zero.
 */
import { hash64, hashMatches, hashOut } from '../base/hash.ts'
import { alignUp, type EgroupId, SECTOR_BYTES } from '../base/units.ts'
import { metaCodec, metaKind, metaStoredBytes, SLICE_RAW_BYTES_MAX } from './frame-format.ts'
import { SlotIndex } from './slot-index.ts'
import { CODEC_LZ4, KIND_PAGE } from './types.ts'

/** "HIDX", little endian. */
const INDEX_MAGIC = 0x58444948
const INDEX_VERSION = 1
const INDEX_HEADER_BYTES = 32
const INDEX_ROW_BYTES = 24
const CHECKSUM_AT = 24

/** The block for the slots of `index` that start before `length` of the log. */
export function encodeIndexBlock(egroup: EgroupId, length: number, index: SlotIndex): Uint8Array {
  let rows = index.count
  while (rows > 0 && index.offset(rows - 1) >= length) rows--
  const bytes = new Uint8Array(alignUp(INDEX_HEADER_BYTES + rows * INDEX_ROW_BYTES, SECTOR_BYTES))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, INDEX_MAGIC, true)
  view.setUint16(4, INDEX_VERSION, true)
  view.setUint32(8, egroup, true)
  view.setUint32(12, length, true)
  view.setUint32(16, rows, true)
  for (let row = 0; row < rows; row++) {
    const at = INDEX_HEADER_BYTES + row * INDEX_ROW_BYTES
    view.setUint32(at, index.slot(row), true)
    view.setUint32(at + 4, index.offset(row), true)
    view.setUint32(at + 8, index.meta(row), true)
    view.setUint32(at + 12, index.rawBytes(row), true)
    view.setUint32(at + 16, index.checksumLo(row), true)
    view.setUint32(at + 20, index.checksumHi(row), true)
  }
  hash64(bytes, 0, bytes.length)
  view.setUint32(CHECKSUM_AT, hashOut[1]!, true)
  view.setUint32(CHECKSUM_AT + 4, hashOut[0]!, true)
  return bytes
}

/**
 * The index in `bytes` (the whole block), or `undefined` when it is damaged or of another copy or length. Blanks the
 * checksum field of `bytes`, which must be the caller's own.
 */
export function decodeIndexBlock(bytes: Uint8Array, egroup: EgroupId, length: number): SlotIndex | undefined {
  if (bytes.length < INDEX_HEADER_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const lo = view.getUint32(CHECKSUM_AT, true)
  const hi = view.getUint32(CHECKSUM_AT + 4, true)
  bytes.fill(0, CHECKSUM_AT, CHECKSUM_AT + 8)
  if (!hashMatches(bytes, 0, bytes.length, hi, lo)) return undefined
  if (view.getUint32(0, true) !== INDEX_MAGIC || view.getUint16(4, true) !== INDEX_VERSION) return undefined
  if (view.getUint32(8, true) !== egroup || view.getUint32(12, true) !== length) return undefined
  const rows = view.getUint32(16, true)
  if (INDEX_HEADER_BYTES + rows * INDEX_ROW_BYTES > bytes.length) return undefined
  const index = new SlotIndex()
  for (let row = 0; row < rows; row++) {
    const at = INDEX_HEADER_BYTES + row * INDEX_ROW_BYTES
    const offset = view.getUint32(at + 4, true)
    const meta = view.getUint32(at + 8, true)
    const rawBytes = view.getUint32(at + 12, true)
    const storedBytes = metaStoredBytes(meta)
    const sane =
      storedBytes > 0 &&
      storedBytes <= rawBytes &&
      rawBytes <= SLICE_RAW_BYTES_MAX &&
      offset + storedBytes <= length &&
      metaCodec(meta) <= CODEC_LZ4 &&
      metaKind(meta) <= KIND_PAGE
    const slot = view.getUint32(at, true)
    const checksumLo = view.getUint32(at + 16, true)
    const checksumHi = view.getUint32(at + 20, true)
    if (!sane || !index.add(slot, offset, meta, rawBytes, checksumHi, checksumLo)) return undefined
  }
  return index
}
