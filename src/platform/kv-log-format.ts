/**
 * Bytes of a KvLog (kv-log.ts). All numbers little-endian.
 *
 * Region, from its offset:
 *
 *     0                  header slot 0 (one sector, in a 4 KiB page of its own)
 *     4,096              header slot 1
 *     8,192              area 0
 *     8,192 + areaBytes  area 1           areaBytes = (region − 8,192) / 2, in whole sectors
 *
 * Header: of the area with the same number. The live one is that with the higher generation.
 *
 *     0  u8[8] "hitherKV"
 *     8  u32   version, 1
 *    12  u32   generation; its lowest bit is the number of the slot
 *    16  u32   basis
 *    20  u32   snapshot batches at the start of the area
 *    24  u32   sectors per area
 *    28  u32   CRC-32C of bytes 0…27
 *    32  zeros to 512
 *
 * Area: batches, back to back, each of whole sectors. A sector stands for itself, so that a sector that a torn write
 * left out (still zeros) can be told from one that went bad:
 *
 *     0  u32   CRC-32C of bytes 4…511
 *     4  u32   generation of the area
 *     8  u32   basis: batches in the other area when this one was begun (tells apart two beginnings of one generation)
 *    12  u32   sequence of the batch in the area, from 0
 *    16  u16   index of the sector in the batch
 *    18  u16   index of the last sector of the batch
 *    20  u8[492] a piece of the payload, zeros after its end
 *
 * Payload: records, one after the other, ended by a key length of 0 or by too little room for another.
 *
 *     0  u16   bytes of the key, 1 to 1,024
 *     2  u32   bytes of the value; 2^32 − 1: the key is removed
 *     6  key in UTF-8, then value
 */
import { isZero } from '../base/bytes.ts'
import { HitherError } from '../base/errors.ts'
import { SECTOR_BYTES } from '../base/units.ts'
import { crc32c } from './crc32c.ts'

export const HEADER_SLOT_BYTES = 4096
export const KEY_BYTES_MAX = 1024
/** Payload bytes that one sector carries. */
export const SECTOR_PAYLOAD_BYTES = SECTOR_BYTES - 20
export const BATCH_SECTORS_MAX = 65_536

const VERSION = 1
const MAGIC = new TextEncoder().encode('hitherKV')
const HEADER_BYTES = 32
const SECTOR_HEADER_BYTES = SECTOR_BYTES - SECTOR_PAYLOAD_BYTES
const RECORD_HEADER_BYTES = 6
const REMOVED = 0xffff_ffff

/** What tells the sectors of one life of an area from all others. */
export interface AreaLife {
  readonly generation: number
  readonly basis: number
}

export interface Header extends AreaLife {
  readonly snapshotBatches: number
  readonly areaSectors: number
}

export interface Change {
  readonly key: string
  /** `undefined` removes the key. */
  readonly value: Uint8Array | undefined
}

export function encodeHeader(header: Header): Uint8Array {
  const bytes = new Uint8Array(SECTOR_BYTES)
  const view = viewOf(bytes)
  bytes.set(MAGIC)
  view.setUint32(8, VERSION, true)
  view.setUint32(12, header.generation, true)
  view.setUint32(16, header.basis, true)
  view.setUint32(20, header.snapshotBatches, true)
  view.setUint32(24, header.areaSectors, true)
  view.setUint32(28, crc32c(bytes, 0, 28), true)
  return bytes
}

/** `blank` when never written; `foreign` when it is not a header of ours; `bad` when it was one. */
export function decodeHeader(sector: Uint8Array): Header | 'blank' | 'foreign' | 'bad' {
  if (isZero(sector, 0, SECTOR_BYTES)) return 'blank'
  const view = viewOf(sector)
  if (!MAGIC.every((byte, index) => sector[index] === byte)) return 'foreign'
  if (crc32c(sector, 0, 28) !== view.getUint32(28, true)) return 'bad'
  if (!isZero(sector, HEADER_BYTES, SECTOR_BYTES - HEADER_BYTES)) return 'bad'
  const version = view.getUint32(8, true)
  if (version !== VERSION) {
    throw new HitherError('FORMAT_UNKNOWN', `table format ${version} is newer than this version of hither`)
  }
  return {
    generation: view.getUint32(12, true),
    basis: view.getUint32(16, true),
    snapshotBatches: view.getUint32(20, true),
    areaSectors: view.getUint32(24, true),
  }
}

/** Sectors of a batch with so much payload. */
export function batchSectors(payloadBytes: number): number {
  return Math.ceil(payloadBytes / SECTOR_PAYLOAD_BYTES)
}

/** Deals `payload` out to sectors. */
export function encodeBatch(life: AreaLife, sequence: number, payload: Uint8Array): Uint8Array {
  const count = batchSectors(payload.length)
  const bytes = new Uint8Array(count * SECTOR_BYTES)
  const view = viewOf(bytes)
  for (let index = 0; index < count; index++) {
    const at = index * SECTOR_BYTES
    view.setUint32(at + 4, life.generation, true)
    view.setUint32(at + 8, life.basis, true)
    view.setUint32(at + 12, sequence, true)
    view.setUint16(at + 16, index, true)
    view.setUint16(at + 18, count - 1, true)
    const from = index * SECTOR_PAYLOAD_BYTES
    bytes.set(payload.subarray(from, from + SECTOR_PAYLOAD_BYTES), at + SECTOR_HEADER_BYTES)
    view.setUint32(at, crc32c(bytes, at + 4, at + SECTOR_BYTES), true)
  }
  return bytes
}

export interface BatchSector {
  readonly sequence: number
  readonly index: number
  readonly last: number
  /** A view of the bytes given. */
  readonly payload: Uint8Array
}

/** The sector at `at`: of this life, or `blank` (zeros), or anything else. */
export function decodeSector(bytes: Uint8Array, at: number, life: AreaLife): BatchSector | 'blank' | 'other' {
  const view = viewOf(bytes)
  if (view.getUint32(at + 4, true) !== life.generation || view.getUint32(at + 8, true) !== life.basis) {
    return isZero(bytes, at, SECTOR_BYTES) ? 'blank' : 'other'
  }
  if (view.getUint32(at, true) !== crc32c(bytes, at + 4, at + SECTOR_BYTES)) return 'other'
  return {
    sequence: view.getUint32(at + 12, true),
    index: view.getUint16(at + 16, true),
    last: view.getUint16(at + 18, true),
    payload: bytes.subarray(at + SECTOR_HEADER_BYTES, at + SECTOR_BYTES),
  }
}

/** The sector at `at` is a whole one of some KvLog, whatever its life. */
export function isBatchSector(bytes: Uint8Array, at: number): boolean {
  const view = viewOf(bytes)
  const life = { generation: view.getUint32(at + 4, true), basis: view.getUint32(at + 8, true) }
  return life.generation > 0 && typeof decodeSector(bytes, at, life) === 'object'
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** Payload bytes of one record. Exact; without encoding the key when it is ASCII. */
export function recordBytes(key: string, value: Uint8Array | undefined): number {
  return RECORD_HEADER_BYTES + keyBytes(key) + (value?.length ?? 0)
}

/** Bytes of a key in UTF-8. */
export function keyBytes(key: string): number {
  let bytes = key.length
  for (let at = 0; at < key.length; at++) {
    const unit = key.charCodeAt(at)
    if (unit >= 0x80) bytes += unit >= 0x800 ? 2 : 1
  }
  return bytes
}

/** `bytes`: the sum of `recordBytes` of all changes. */
export function encodeRecords(changes: Iterable<Change>, bytes: number): Uint8Array {
  const payload = new Uint8Array(bytes)
  const view = viewOf(payload)
  let at = 0
  for (const { key, value } of changes) {
    const keyAt = at + RECORD_HEADER_BYTES
    const keyLength = encoder.encodeInto(key, payload.subarray(keyAt)).written
    view.setUint16(at, keyLength, true)
    view.setUint32(at + 2, value ? value.length : REMOVED, true)
    if (value) payload.set(value, keyAt + keyLength)
    at = keyAt + keyLength + (value?.length ?? 0)
  }
  return payload
}

/** Values are copies. `undefined` when the payload is not made of whole records. */
export function decodeRecords(payload: Uint8Array): Change[] | undefined {
  const view = viewOf(payload)
  const changes: Change[] = []
  let at = 0
  while (at + RECORD_HEADER_BYTES <= payload.length) {
    const keyLength = view.getUint16(at, true)
    if (keyLength === 0) break
    const valueLength = view.getUint32(at + 2, true)
    const valueAt = at + RECORD_HEADER_BYTES + keyLength
    const end = valueLength === REMOVED ? valueAt : valueAt + valueLength
    if (end > payload.length) return undefined
    changes.push({
      key: decoder.decode(payload.subarray(at + RECORD_HEADER_BYTES, valueAt)),
      value: valueLength === REMOVED ? undefined : payload.slice(valueAt, end),
    })
    at = end
  }
  return changes
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
