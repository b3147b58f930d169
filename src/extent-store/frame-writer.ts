/**
 * Builds frames. Hot path: every byte that a client writes passes here once. Slices are compressed straight into the
 * payload buffer and hashed there; tables are written as bytes as they come; nothing is allocated per block, and the
 * builder is reused from frame to frame.
 *
 * Life: add… , `seal` (any number of times, for one egroup after another when an append failed), `reset`.
 */
import { packSlice } from '../base/codec.ts'
import { invariant } from '../base/errors.ts'
import { hash64, hashOut } from '../base/hash.ts'
import { alignUp, KiB, MiB, SECTOR_BYTES } from '../base/units.ts'
import {
  FINGERPRINT_BYTES,
  FRAME_MAGIC,
  FRAME_VERSION,
  HEADER,
  HEADER_BYTES,
  metaCodec,
  metaStoredBytes,
  PAYLOAD_ALIGN,
  packMeta,
  RECORD,
  RECORD_BLOCKS_MAX,
  RECORD_BYTES,
  RECORD_HOLE,
  RECORD_MAPPED,
  SLICE_RAW_BYTES_MAX,
  SLOT,
  SLOT_BYTES,
} from './frame-format.ts'
import { CODEC_LZ4, CODEC_RAW, type EncodedSlice, type StoredSlice } from './types.ts'

const TWO_32 = 0x1_0000_0000

/** Where a frame goes; everything in it that is not relative. */
export interface FramePlace {
  readonly egroup: number
  readonly generation: number
  /** Log offset in the egroup, a multiple of SECTOR_BYTES. */
  readonly offset: number
  /** Added to the relative slot numbers of the table; 0 when they are explicit. */
  readonly baseSlot: number
  readonly stream: number
}

/** Rows of one size, in a buffer that doubles. */
class Table {
  bytes: Uint8Array
  view: DataView
  count = 0
  readonly #rowBytes: number

  constructor(rowBytes: number, rows: number) {
    this.#rowBytes = rowBytes
    this.bytes = new Uint8Array(rowBytes * rows)
    this.view = new DataView(this.bytes.buffer)
  }

  get usedBytes(): number {
    return this.count * this.#rowBytes
  }

  /** Takes the next row; returns where it starts. */
  take(): number {
    const at = this.usedBytes
    if (at === this.bytes.length) {
      const grown = new Uint8Array(this.bytes.length * 2)
      grown.set(this.bytes)
      this.bytes = grown
      this.view = new DataView(grown.buffer)
    }
    this.count++
    return at
  }
}

/** Payload memory of a new builder. */
const PAYLOAD_FIRST_BYTES = 64 * KiB

export class FrameBuilder {
  readonly #capacity: number
  /** Doubles as slices come, up to the capacity: most frames are small. */
  #payload: Uint8Array
  #payloadBytes = 0
  readonly #slots = new Table(SLOT_BYTES, 256)
  readonly #records = new Table(RECORD_BYTES, 256)
  readonly #fingerprints = new Table(FINGERPRINT_BYTES, 512)
  #head = new Uint8Array(8 * KiB)
  #headView = new DataView(this.#head.buffer)

  /** @param payloadCapacity bytes of stored slices that one frame can take. */
  constructor(payloadCapacity: number = MiB) {
    invariant(payloadCapacity >= SLICE_RAW_BYTES_MAX, 'a frame can hold the largest slice')
    this.#capacity = payloadCapacity
    this.#payload = new Uint8Array(PAYLOAD_FIRST_BYTES + SECTOR_BYTES)
  }

  /** Memory that it holds for payload. */
  get memoryBytes(): number {
    return this.#payload.length
  }

  get payloadBytes(): number {
    return this.#payloadBytes
  }

  get slotCount(): number {
    return this.#slots.count
  }

  get recordCount(): number {
    return this.#records.count
  }

  get fingerprintCount(): number {
    return this.#fingerprints.count
  }

  /** Length that `seal` would give, a multiple of SECTOR_BYTES. */
  get frameBytes(): number {
    return alignUp(this.#payloadOffset() + this.#payloadBytes, SECTOR_BYTES)
  }

  get isEmpty(): boolean {
    return this.#slots.count === 0 && this.#records.count === 0
  }

  /** Whether slices of `rawBytes` in all would fit, even if none of them shrinks. */
  hasRoomFor(rawBytes: number): boolean {
    return this.#payloadBytes + rawBytes <= this.#capacity
  }

  /**
   * Adds `rawBytes` (at most 32 KiB) of `source` as one slice, compressed when asked and when that saves a sector or
   * more. `source` is only read, before the call returns. Returns the relative slot. The caller has checked
   * `hasRoomFor`.
   */
  addSlice(source: Uint8Array, offset: number, rawBytes: number, kind: number, compress: boolean): number {
    invariant(rawBytes > 0 && rawBytes <= SLICE_RAW_BYTES_MAX, `a slice has ${rawBytes} bytes`)
    invariant(this.hasRoomFor(rawBytes), 'the frame has room for the slice')
    this.#growFor(rawBytes)
    const at = this.#payloadBytes
    let storedBytes = rawBytes
    if (compress) {
      storedBytes = packSlice(source, offset, rawBytes, this.#payload, at)
    } else {
      this.#payload.set(source.subarray(offset, offset + rawBytes), at)
      hash64(this.#payload, at, rawBytes)
    }
    const codec = storedBytes < rawBytes ? CODEC_LZ4 : CODEC_RAW
    const relative = this.#slots.count
    this.#addSlot(relative, storedBytes, codec, kind, rawBytes, hashOut[0]!, hashOut[1]!)
    return relative
  }

  /**
   * Adds a slice as it is stored elsewhere, with its checksum, which is not computed again: damage stays visible.
   * `explicitSlot` is its number in an egroup of frames with `baseSlot` 0 (compacted and partial copies); without
   * it, the next relative slot is taken. The bytes are copied. Returns the number written to the table.
   */
  addStored(slice: Omit<StoredSlice, 'slot'>, explicitSlot?: number): number {
    const storedBytes = slice.bytes.length
    invariant(
      storedBytes > 0 && storedBytes <= SLICE_RAW_BYTES_MAX,
      `a stored slice has ${storedBytes} bytes`,
    )
    invariant(this.hasRoomFor(storedBytes), 'the frame has room for the stored slice')
    this.#growFor(storedBytes)
    this.#payload.set(slice.bytes, this.#payloadBytes)
    const number = explicitSlot ?? this.#slots.count
    this.#addSlot(
      number,
      storedBytes,
      slice.codec,
      slice.kind,
      slice.rawBytes,
      slice.checksumHi,
      slice.checksumLo,
    )
    return number
  }

  /** A slice that was added, as it is stored. Its bytes are the builder's own memory, valid until `reset` or the next add. */
  encodedSlice(relative: number): EncodedSlice {
    invariant(relative >= 0 && relative < this.#slots.count, 'the slice was added')
    const at = relative * SLOT_BYTES
    const { view } = this.#slots
    const offset = view.getUint32(at + SLOT.payloadOffset, true)
    const meta = view.getUint32(at + SLOT.meta, true)
    return {
      codec: metaCodec(meta),
      rawBytes: view.getUint32(at + SLOT.rawBytes, true),
      bytes: this.#payload.subarray(offset, offset + metaStoredBytes(meta)),
    }
  }

  /** Room for `bytes` more, and for the padding behind. */
  #growFor(bytes: number): void {
    const needed = this.#payloadBytes + bytes + SECTOR_BYTES
    if (needed <= this.#payload.length) return
    let size = this.#payload.length - SECTOR_BYTES
    while (size + SECTOR_BYTES < needed) size *= 2
    const grown = new Uint8Array(Math.min(size, this.#capacity) + SECTOR_BYTES)
    grown.set(this.#payload.subarray(0, this.#payloadBytes))
    this.#payload = grown
  }

  /** Adds the fingerprint of the next 4 KiB block of the data slices: one for every block, in order, or none at all. */
  addFingerprint(hi: number, lo: number): void {
    const at = this.#fingerprints.take()
    const view = this.#fingerprints.view
    view.setUint32(at, lo, true)
    view.setUint32(at + 4, hi, true)
  }

  /**
   * Blocks `start` … `start + count − 1` read from slot and sub-block `ref` (`packRef`) on. `egroup` 0 is the
   * frame's own, and then the slot in `ref` is relative. All must lie in one slice: `count` ≤ 8.
   */
  addMapped(start: number, count: number, egroup: number, ref: number): void {
    this.#addRecord(RECORD_MAPPED, start, count, egroup, ref)
  }

  /** Blocks `start` … `start + count − 1` read as zeros. Any count; long ones become several records. */
  addHole(start: number, count: number): void {
    for (let done = 0; done < count; done += RECORD_BLOCKS_MAX) {
      this.#addRecord(RECORD_HOLE, start + done, Math.min(count - done, RECORD_BLOCKS_MAX), 0, 0)
    }
  }

  /**
   * The frame's bytes for this place: parts to be written one after the other, together a multiple of SECTOR_BYTES.
   * The first holds header and tables, the second the payload. They are the builder's own memory, valid until
   * `reset`, the next add or the next `seal`. May be called again for another place.
   */
  seal(place: FramePlace): readonly Uint8Array[] {
    const payloadOffset = this.#payloadOffset()
    const frameBytes = this.frameBytes
    this.#reserveHead(payloadOffset)
    const head = this.#head
    const view = this.#headView
    head.fill(0, 0, HEADER_BYTES)
    view.setUint32(HEADER.magic, FRAME_MAGIC, true)
    view.setUint16(HEADER.version, FRAME_VERSION, true)
    view.setUint32(HEADER.egroup, place.egroup, true)
    view.setUint32(HEADER.generation, place.generation, true)
    view.setUint32(HEADER.offset, place.offset, true)
    view.setUint32(HEADER.frameBytes, frameBytes, true)
    view.setUint32(HEADER.baseSlot, place.baseSlot, true)
    view.setUint32(HEADER.slotCount, this.#slots.count, true)
    view.setUint32(HEADER.recordCount, this.#records.count, true)
    view.setUint32(HEADER.fingerprintCount, this.#fingerprints.count, true)
    view.setUint32(HEADER.payloadOffset, payloadOffset, true)
    view.setUint32(HEADER.payloadBytes, this.#payloadBytes, true)
    view.setUint32(HEADER.stream, place.stream, true)
    let at = HEADER_BYTES
    for (const table of [this.#slots, this.#records, this.#fingerprints]) {
      head.set(table.bytes.subarray(0, table.usedBytes), at)
      at += table.usedBytes
    }
    head.fill(0, at, payloadOffset)
    hash64(head, 0, payloadOffset)
    view.setUint32(HEADER.checksumLo, hashOut[1]!, true)
    view.setUint32(HEADER.checksumHi, hashOut[0]!, true)
    const paddedBytes = frameBytes - payloadOffset
    this.#payload.fill(0, this.#payloadBytes, paddedBytes)
    return [head.subarray(0, payloadOffset), this.#payload.subarray(0, paddedBytes)]
  }

  /** Empties the builder for the next frame. */
  reset(): void {
    this.#payloadBytes = 0
    this.#slots.count = 0
    this.#records.count = 0
    this.#fingerprints.count = 0
  }

  #payloadOffset(): number {
    const tables = this.#slots.usedBytes + this.#records.usedBytes + this.#fingerprints.usedBytes
    return alignUp(HEADER_BYTES + tables, PAYLOAD_ALIGN)
  }

  #reserveHead(bytes: number): void {
    if (bytes <= this.#head.length) return
    this.#head = new Uint8Array(alignUp(bytes * 2, SECTOR_BYTES))
    this.#headView = new DataView(this.#head.buffer)
  }

  #addSlot(
    number: number,
    storedBytes: number,
    codec: number,
    kind: number,
    rawBytes: number,
    checksumHi: number,
    checksumLo: number,
  ): void {
    const at = this.#slots.take()
    const view = this.#slots.view
    view.setUint32(at + SLOT.slot, number, true)
    view.setUint32(at + SLOT.payloadOffset, this.#payloadBytes, true)
    view.setUint32(at + SLOT.meta, packMeta(storedBytes, codec, kind), true)
    view.setUint32(at + SLOT.rawBytes, rawBytes, true)
    view.setUint32(at + SLOT.checksumLo, checksumLo, true)
    view.setUint32(at + SLOT.checksumHi, checksumHi, true)
    this.#payloadBytes += storedBytes
  }

  #addRecord(type: number, start: number, count: number, egroup: number, ref: number): void {
    invariant(count > 0 && count <= RECORD_BLOCKS_MAX, `a record names ${count} blocks`)
    const at = this.#records.take()
    const view = this.#records.view
    view.setUint32(at + RECORD.typeCount, (type | (count << 8)) >>> 0, true)
    view.setUint32(at + RECORD.startLo, start % TWO_32, true)
    view.setUint32(at + RECORD.startHi, start / TWO_32, true)
    view.setUint32(at + RECORD.egroup, egroup, true)
    view.setUint32(at + RECORD.ref, ref, true)
  }
}
