/**
 * How one device is laid out, and its superblock.
 *
 *   0        superblock, copy A (4 KiB)
 *   4 KiB    superblock, copy B (4 KiB)
 *   64 KiB   copy table: a KvLog region
 *   then     data area, in units of 64 KiB
 *
 * The superblock is written when a device is formatted and never again, except that a damaged one is replaced by its
 * twin at open: so no crash can lose both. It holds where everything is, so that a later version may lay out new
 * devices in another way and still open old ones.
 */
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { codeOf, HitherError } from '../base/errors.ts'
import { hash64, hashMatches, hashOut } from '../base/hash.ts'
import { alignUp, EGROUP_BYTES, GiB, KiB, MiB, type NodeId } from '../base/units.ts'
import { UNIT_BYTES, unitsFor } from './placement.ts'
import type { SpaceUse } from './types.ts'

/** "HSUP", little endian. */
const SUPERBLOCK_MAGIC = 0x50555348
const SUPERBLOCK_VERSION = 1
export const SUPERBLOCK_BYTES = 4 * KiB
export const SUPERBLOCK_OFFSETS = [0, SUPERBLOCK_BYTES] as const
const CHECKSUM_BYTES = 8

const TABLE_BYTES_MIN = 2 * MiB
const TABLE_BYTES_MAX = 1 * GiB
/** One part in so many of the device is for the copy table. */
const TABLE_SHARE = 1024

/**
 * Units that only compaction, index blocks and repair may take: a whole egroup and its index. So a device that is
 * full for writers can still be compacted, which is how it gets space back.
 */
export const RESERVE_UNITS = unitsFor(EGROUP_BYTES) + 2
/**
 * Part of the data area, one in so many, that user data leaves to the log itself: trims, map pages, and what goes on
 * when a copy has failed (`SpaceUse`). So a device that is full for writers can still be emptied: what frees space is
 * written first. At most as much as one egroup: 16 short egroups (replication/stream-writer.ts), of which a checkpoint or
 * a trim of one vDisk takes one when its open egroup has no room. What a node keeps free besides is in cvm/settings.ts.
 */
const LOG_RESERVE_SHARE = 16
/** Smaller devices are refused: the reserve and a few egroups must fit. */
export const DEVICE_BYTES_MIN = 16 * MiB

/** Units that must stay free when space is taken for `use`. */
export function unitsKept(areaUnits: number, use: SpaceUse): number {
  const logReserve = Math.min(unitsFor(EGROUP_BYTES), Math.floor(areaUnits / LOG_RESERVE_SHARE))
  if (use === 'map') return RESERVE_UNITS
  return RESERVE_UNITS + (use === 'data' ? logReserve : Math.floor(logReserve / 2))
}

/** All in bytes, but `areaUnits`. */
export interface DeviceLayout {
  readonly tableOffset: number
  readonly tableBytes: number
  readonly areaOffset: number
  readonly areaUnits: number
}

export interface Superblock {
  readonly node: NodeId
  readonly device: string
  /** Bytes of the device when it was formatted. */
  readonly deviceBytes: number
  readonly layout: DeviceLayout
}

/** Layout of a new device of this size. */
export function layoutFor(deviceBytes: number): DeviceLayout {
  const share = Math.min(Math.max(deviceBytes / TABLE_SHARE, TABLE_BYTES_MIN), TABLE_BYTES_MAX)
  const tableBytes = alignUp(share, UNIT_BYTES)
  const areaOffset = UNIT_BYTES + tableBytes
  return {
    tableOffset: UNIT_BYTES,
    tableBytes,
    areaOffset,
    areaUnits: Math.floor((deviceBytes - areaOffset) / UNIT_BYTES),
  }
}

/** SUPERBLOCK_BYTES: magic, checksum of all that follows it, fields, zeros. */
export function encodeSuperblock(superblock: Superblock): Uint8Array {
  const { layout } = superblock
  const bytes = new ByteWriter(SUPERBLOCK_BYTES)
    .u32(SUPERBLOCK_MAGIC)
    .u32(0)
    .u32(0)
    .u32(SUPERBLOCK_VERSION)
    .u53(superblock.deviceBytes)
    .u53(layout.tableOffset)
    .u53(layout.tableBytes)
    .u53(layout.areaOffset)
    .u32(UNIT_BYTES)
    .u32(layout.areaUnits)
    .string(superblock.node)
    .string(superblock.device)
    .padTo(SUPERBLOCK_BYTES)
    .toBytes()
  const checkedFrom = 4 + CHECKSUM_BYTES
  hash64(bytes, checkedFrom, SUPERBLOCK_BYTES - checkedFrom)
  const view = new DataView(bytes.buffer)
  view.setUint32(4, hashOut[1]!, true)
  view.setUint32(8, hashOut[0]!, true)
  return bytes
}

/**
 * The superblock in these SUPERBLOCK_BYTES; `undefined` when it is damaged or none. One that is whole, but of a newer
 * version, is refused with `FORMAT_UNKNOWN`.
 */
export function decodeSuperblock(bytes: Uint8Array): Superblock | undefined {
  const reader = new ByteReader(bytes)
  if (reader.u32() !== SUPERBLOCK_MAGIC) return undefined
  const lo = reader.u32()
  const hi = reader.u32()
  if (!hashMatches(bytes, reader.offset, bytes.length - reader.offset, hi, lo)) return undefined
  const version = reader.u32()
  if (version !== SUPERBLOCK_VERSION) {
    throw new HitherError(
      'FORMAT_UNKNOWN',
      `the device was formatted by a newer version (format ${version}); use that version, or reformat it`,
    )
  }
  try {
    const deviceBytes = reader.u53()
    const tableOffset = reader.u53()
    const tableBytes = reader.u53()
    const areaOffset = reader.u53()
    const unitBytes = reader.u32()
    const areaUnits = reader.u32()
    if (unitBytes !== UNIT_BYTES || areaOffset + areaUnits * UNIT_BYTES > deviceBytes) return undefined
    return {
      node: reader.string(),
      device: reader.string(),
      deviceBytes,
      layout: { tableOffset, tableBytes, areaOffset, areaUnits },
    }
  } catch (error) {
    if (codeOf(error) === 'PROTOCOL_ERROR') return undefined
    throw error
  }
}
