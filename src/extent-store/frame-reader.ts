/**
 * Reads frames, from bytes that may be damaged or lie. `parseFrame` and `parseHead` check every length against what
 * is there before it is used, then the checksum over header and tables; `verifySlices` checks the payload. Iteration
 * is zero-copy: fields are read where they stand.
 *
 * A frame that is not valid is `undefined`, not an error: at the end of an open log that is the normal case.
 */
import { HitherError } from '../base/errors.ts'
import { hashMatches } from '../base/hash.ts'
import { alignUp, BLOCK_BYTES, KiB, SECTOR_BYTES, SLOTS_MAX } from '../base/units.ts'
import {
  FINGERPRINT_BYTES,
  FRAME_BYTES_MAX,
  FRAME_MAGIC,
  FRAME_VERSION,
  HEADER,
  HEADER_BYTES,
  metaCodec,
  metaKind,
  metaStoredBytes,
  PAYLOAD_ALIGN,
  RECORD,
  RECORD_BYTES,
  RECORD_HOLE,
  RECORD_MAPPED,
  SLICE_RAW_BYTES_MAX,
  SLOT,
  SLOT_BYTES,
} from './frame-format.ts'
import { CODEC_LZ4, CODEC_RAW, KIND_DATA, KIND_PAGE, type StoredSlice } from './types.ts'

const TWO_32 = 0x1_0000_0000

/** A parsed frame: a window on the bytes it was parsed from, which must not change while it is in use. */
export class ParsedFrame {
  readonly egroup: number
  readonly generation: number
  /** Offset in the log, as the header says. */
  readonly offset: number
  readonly frameBytes: number
  readonly baseSlot: number
  readonly slotCount: number
  readonly recordCount: number
  readonly fingerprintCount: number
  /** Bytes from the start of the frame to the payload. */
  readonly payloadOffset: number
  readonly payloadBytes: number
  readonly stream: number
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #slotsAt: number
  readonly #recordsAt: number
  readonly #fingerprintsAt: number
  readonly #payloadAt: number

  /** For `parseHead` only: the bytes at `at` have been checked. */
  constructor(bytes: Uint8Array, view: DataView, at: number) {
    this.#bytes = bytes
    this.#view = view
    this.egroup = view.getUint32(at + HEADER.egroup, true)
    this.generation = view.getUint32(at + HEADER.generation, true)
    this.offset = view.getUint32(at + HEADER.offset, true)
    this.frameBytes = view.getUint32(at + HEADER.frameBytes, true)
    this.baseSlot = view.getUint32(at + HEADER.baseSlot, true)
    this.slotCount = view.getUint32(at + HEADER.slotCount, true)
    this.recordCount = view.getUint32(at + HEADER.recordCount, true)
    this.fingerprintCount = view.getUint32(at + HEADER.fingerprintCount, true)
    this.payloadOffset = view.getUint32(at + HEADER.payloadOffset, true)
    this.payloadBytes = view.getUint32(at + HEADER.payloadBytes, true)
    this.stream = view.getUint32(at + HEADER.stream, true)
    this.#slotsAt = at + HEADER_BYTES
    this.#recordsAt = this.#slotsAt + this.slotCount * SLOT_BYTES
    this.#fingerprintsAt = this.#recordsAt + this.recordCount * RECORD_BYTES
    this.#payloadAt = at + this.payloadOffset
  }

  // Slots: `i` is the row of the table, 0 … slotCount−1.

  /** Number of the slot in the egroup. */
  slot(i: number): number {
    return this.baseSlot + this.#slotField(i, SLOT.slot)
  }

  /** Stored bytes, codec and kind in one word, as in the table. */
  meta(i: number): number {
    return this.#slotField(i, SLOT.meta)
  }

  storedBytes(i: number): number {
    return metaStoredBytes(this.meta(i))
  }

  codec(i: number): number {
    return metaCodec(this.meta(i))
  }

  kind(i: number): number {
    return metaKind(this.meta(i))
  }

  rawBytes(i: number): number {
    return this.#slotField(i, SLOT.rawBytes)
  }

  checksumHi(i: number): number {
    return this.#slotField(i, SLOT.checksumHi)
  }

  checksumLo(i: number): number {
    return this.#slotField(i, SLOT.checksumLo)
  }

  /** Offset in the log at which the stored bytes of the slot start. */
  logOffset(i: number): number {
    return this.offset + this.payloadOffset + this.#slotField(i, SLOT.payloadOffset)
  }

  /** Stored bytes of the slot, a view. Needs the whole frame, not only its head. */
  stored(i: number): Uint8Array {
    const at = this.#payloadAt + this.#slotField(i, SLOT.payloadOffset)
    return this.#bytes.subarray(at, at + this.storedBytes(i))
  }

  /** The slot as a slice; its bytes are a view. Needs the whole frame. */
  slice(i: number): StoredSlice {
    return {
      slot: this.slot(i),
      codec: this.codec(i),
      kind: this.kind(i),
      rawBytes: this.rawBytes(i),
      checksumHi: this.checksumHi(i),
      checksumLo: this.checksumLo(i),
      bytes: this.stored(i),
    }
  }

  /** Whether the stored bytes of the slot match its checksum. Needs the whole frame. */
  verifySlice(i: number): boolean {
    const at = this.#payloadAt + this.#slotField(i, SLOT.payloadOffset)
    return hashMatches(this.#bytes, at, this.storedBytes(i), this.checksumHi(i), this.checksumLo(i))
  }

  // Records: `i` is 0 … recordCount−1, in the order in which they were added.

  /** RECORD_MAPPED or RECORD_HOLE. Any other is of a newer version: `FORMAT_UNKNOWN`. */
  recordType(i: number): number {
    const type = this.#recordField(i, RECORD.typeCount) & 0xff
    if (type !== RECORD_MAPPED && type !== RECORD_HOLE) {
      throw new HitherError(
        'FORMAT_UNKNOWN',
        `egroup ${this.egroup} holds a record of type ${type}, which this version does not know; use a newer one`,
      )
    }
    return type
  }

  /** Blocks. */
  recordCountOf(i: number): number {
    return this.#recordField(i, RECORD.typeCount) >>> 8
  }

  /** First block of the vDisk. */
  recordStart(i: number): number {
    return this.#recordField(i, RECORD.startHi) * TWO_32 + this.#recordField(i, RECORD.startLo)
  }

  /** Egroup that the blocks read from; the frame's own is given by its id. 0 for a hole. */
  recordEgroup(i: number): number {
    if (this.recordType(i) === RECORD_HOLE) return 0
    const egroup = this.#recordField(i, RECORD.egroup)
    return egroup === 0 ? this.egroup : egroup
  }

  /** Slot number in that egroup, absolute. */
  recordSlot(i: number): number {
    const slot = this.#recordField(i, RECORD.ref) >>> 3
    return this.#recordField(i, RECORD.egroup) === 0 ? this.baseSlot + slot : slot
  }

  /** Sub-block of the slice with which the run starts, 0 … 7. */
  recordSub(i: number): number {
    return this.#recordField(i, RECORD.ref) & 7
  }

  // Fingerprints: `i` is 0 … fingerprintCount−1, the i-th block of the data slices in order.

  fingerprintHi(i: number): number {
    return this.#view.getUint32(this.#fingerprintsAt + i * FINGERPRINT_BYTES + 4, true)
  }

  fingerprintLo(i: number): number {
    return this.#view.getUint32(this.#fingerprintsAt + i * FINGERPRINT_BYTES, true)
  }

  #slotField(i: number, field: number): number {
    return this.#view.getUint32(this.#slotsAt + i * SLOT_BYTES + field, true)
  }

  #recordField(i: number, field: number): number {
    return this.#view.getUint32(this.#recordsAt + i * RECORD_BYTES + field, true)
  }
}

/**
 * The frame that starts at `at`, when its header and tables are valid and all of it lies inside `bytes`. The payload
 * is not verified: see `verifySlices`. The result is a window on `bytes`.
 */
export function parseFrame(bytes: Uint8Array, at: number): ParsedFrame | undefined {
  const frame = parseHead(bytes, at)
  return frame !== undefined && at + frame.frameBytes <= bytes.length ? frame : undefined
}

/** As `parseFrame`, but only header and tables need to lie inside `bytes`. `stored` may then be used on none. */
export function parseHead(bytes: Uint8Array, at: number): ParsedFrame | undefined {
  const headBytes = headBytesAt(bytes, at)
  if (headBytes === 0 || at + headBytes > bytes.length) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (!checksumHolds(bytes, view, at, headBytes)) return undefined
  const frame = new ParsedFrame(bytes, view, at)
  return slotsAreSane(frame) ? frame : undefined
}

/**
 * Bytes of header and tables of the frame that seems to start at `at`, or 0 when none does. Tells how much to read
 * before `parseHead` can work; nothing is verified but the sanity of the lengths. Needs HEADER_BYTES of `bytes`.
 */
export function headBytesAt(bytes: Uint8Array, at: number): number {
  if (at + HEADER_BYTES > bytes.length) return 0
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, HEADER_BYTES)
  if (view.getUint32(HEADER.magic, true) !== FRAME_MAGIC) return 0
  if (view.getUint16(HEADER.version, true) !== FRAME_VERSION) return 0
  const tables =
    view.getUint32(HEADER.slotCount, true) * SLOT_BYTES +
    view.getUint32(HEADER.recordCount, true) * RECORD_BYTES +
    view.getUint32(HEADER.fingerprintCount, true) * FINGERPRINT_BYTES
  const payloadOffset = view.getUint32(HEADER.payloadOffset, true)
  const frameBytes = view.getUint32(HEADER.frameBytes, true)
  if (frameBytes > FRAME_BYTES_MAX) return 0
  if (payloadOffset !== alignUp(HEADER_BYTES + tables, PAYLOAD_ALIGN)) return 0
  if (frameBytes !== alignUp(payloadOffset + view.getUint32(HEADER.payloadBytes, true), SECTOR_BYTES))
    return 0
  return payloadOffset
}

/** Whether all slices of the frame match their checksums. Needs the whole frame. */
export function verifySlices(frame: ParsedFrame): boolean {
  for (let i = 0; i < frame.slotCount; i++) if (!frame.verifySlice(i)) return false
  return true
}

/** Copy of a head whose checksum is being computed; grows to the largest one seen. */
let scratch = new Uint8Array(16 * KiB)

/**
 * The checksum was computed with its own field zero. It is blanked in a copy, never in place: the same bytes may be
 * on their way to another device or peer.
 */
function checksumHolds(bytes: Uint8Array, view: DataView, at: number, headBytes: number): boolean {
  if (headBytes > scratch.length) scratch = new Uint8Array(headBytes * 2)
  scratch.set(bytes.subarray(at, at + headBytes))
  scratch.fill(0, HEADER.checksumLo, HEADER_BYTES)
  const hi = view.getUint32(at + HEADER.checksumHi, true)
  const lo = view.getUint32(at + HEADER.checksumLo, true)
  return hashMatches(scratch, 0, headBytes, hi, lo)
}

/** What a valid checksum does not promise: that the writer was right. Keeps later reads inside the frame. */
function slotsAreSane(frame: ParsedFrame): boolean {
  let fingerprintedBlocks = 0
  for (let i = 0; i < frame.slotCount; i++) {
    const storedBytes = frame.storedBytes(i)
    const rawBytes = frame.rawBytes(i)
    const codec = frame.codec(i)
    const kind = frame.kind(i)
    const payloadStart = frame.logOffset(i) - frame.offset - frame.payloadOffset
    if (storedBytes === 0 || payloadStart + storedBytes > frame.payloadBytes) return false
    if (rawBytes === 0 || rawBytes > SLICE_RAW_BYTES_MAX) return false
    if (codec !== CODEC_RAW && codec !== CODEC_LZ4) return false
    if (codec === CODEC_RAW ? storedBytes !== rawBytes : storedBytes >= rawBytes) return false
    if (kind !== KIND_DATA && kind !== KIND_PAGE) return false
    if (frame.slot(i) >= SLOTS_MAX) return false
    if (kind === KIND_DATA) fingerprintedBlocks += Math.ceil(rawBytes / BLOCK_BYTES)
  }
  return frame.fingerprintCount === 0 || frame.fingerprintCount === fingerprintedBlocks
}
