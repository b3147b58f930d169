/**
 * Slot number → where its bytes are in the copy's log, how long they are, and their checksum. Typed arrays: 24 bytes
 * a slot and 2 bytes a slot number, so that the index of a full egroup of 4 KiB slices takes 50 KB, and a partial
 * copy of three slices almost nothing.
 *
 * `SlotIndexCache` bounds what the indexes of sealed and partial copies may take together. Those of open copies are
 * not in it: they exist nowhere else until the seal.
 */
import { SLOTS_MAX } from '../base/units.ts'
import { metaKind, metaStoredBytes } from './frame-format.ts'
import type { ParsedFrame } from './frame-reader.ts'
import type { SlotSummary } from './types.ts'

const FIELDS = 6
const FIELD_SLOT = 0
const FIELD_OFFSET = 1
const FIELD_META = 2
const FIELD_RAW_BYTES = 3
const FIELD_CHECKSUM_HI = 4
const FIELD_CHECKSUM_LO = 5

export class SlotIndex {
  /** Whether a slot that is not here is not in the copy; `false` after damage, when it may be there unreachably. */
  complete = true
  /** By slot number: row + 1, or 0. */
  #rowOf = new Uint16Array(64)
  #rows = new Uint32Array(16 * FIELDS)
  #count = 0

  /** Slots. Rows are numbered 0 … count−1, in the order in which they were added, which is that of the log. */
  get count(): number {
    return this.#count
  }

  /** Bytes of memory. */
  get bytes(): number {
    return this.#rowOf.byteLength + this.#rows.byteLength
  }

  /** Adds a slot; `false` (and nothing changes) when it is there already or no slot number. */
  add(
    slot: number,
    offset: number,
    meta: number,
    rawBytes: number,
    checksumHi: number,
    checksumLo: number,
  ): boolean {
    if (slot >= SLOTS_MAX || this.find(slot) >= 0) return false
    if (slot >= this.#rowOf.length) {
      const grown = new Uint16Array(Math.max(slot + 1, this.#rowOf.length * 2))
      grown.set(this.#rowOf)
      this.#rowOf = grown
    }
    const at = this.#count * FIELDS
    if (at === this.#rows.length) {
      const grown = new Uint32Array(this.#rows.length * 2)
      grown.set(this.#rows)
      this.#rows = grown
    }
    const rows = this.#rows
    rows[at + FIELD_SLOT] = slot
    rows[at + FIELD_OFFSET] = offset
    rows[at + FIELD_META] = meta
    rows[at + FIELD_RAW_BYTES] = rawBytes
    rows[at + FIELD_CHECKSUM_HI] = checksumHi
    rows[at + FIELD_CHECKSUM_LO] = checksumLo
    this.#rowOf[slot] = ++this.#count
    return true
  }

  /** Adds all slots of a frame; `false` when one of them was there already. */
  addFrame(frame: ParsedFrame): boolean {
    let fresh = true
    for (let i = 0; i < frame.slotCount; i++) {
      const added = this.add(
        frame.slot(i),
        frame.logOffset(i),
        frame.meta(i),
        frame.rawBytes(i),
        frame.checksumHi(i),
        frame.checksumLo(i),
      )
      fresh = fresh && added
    }
    return fresh
  }

  /** Row of the slot, or −1. */
  find(slot: number): number {
    return (this.#rowOf[slot] ?? 0) - 1
  }

  /** Forgets the slots at or behind `length` of the log. */
  truncate(length: number): void {
    while (this.#count > 0 && this.offset(this.#count - 1) >= length) {
      this.#rowOf[this.slot(this.#count - 1)] = 0
      this.#count--
    }
  }

  slot(row: number): number {
    return this.#rows[row * FIELDS + FIELD_SLOT]!
  }

  /** Log offset of the stored bytes. */
  offset(row: number): number {
    return this.#rows[row * FIELDS + FIELD_OFFSET]!
  }

  /** Stored bytes, codec and kind in one word, as in a frame's slot table. */
  meta(row: number): number {
    return this.#rows[row * FIELDS + FIELD_META]!
  }

  storedBytes(row: number): number {
    return metaStoredBytes(this.meta(row))
  }

  rawBytes(row: number): number {
    return this.#rows[row * FIELDS + FIELD_RAW_BYTES]!
  }

  checksumHi(row: number): number {
    return this.#rows[row * FIELDS + FIELD_CHECKSUM_HI]!
  }

  checksumLo(row: number): number {
    return this.#rows[row * FIELDS + FIELD_CHECKSUM_LO]!
  }

  /** All slots, in the order of the log. */
  summary(): SlotSummary[] {
    const all: SlotSummary[] = []
    for (let row = 0; row < this.#count; row++) {
      const meta = this.meta(row)
      all.push({ slot: this.slot(row), storedBytes: metaStoredBytes(meta), kind: metaKind(meta) })
    }
    return all
  }
}

/** What the cache needs of its keys: copies, whose index it takes away when memory is short. */
export interface IndexHolder {
  index: SlotIndex | undefined
  /** While set, the index is being changed and must stay. */
  readonly indexPinned: boolean
}

/** Bounded, least recently used first. The index itself stands in its holder. */
export class SlotIndexCache {
  readonly #bytesMax: number
  readonly #sizes = new Map<IndexHolder, number>()
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Tells that the holder's index was used, or changed its size; makes room when the budget is exceeded. */
  touch(holder: IndexHolder): void {
    this.forget(holder)
    if (holder.index === undefined) return
    const size = holder.index.bytes
    this.#sizes.set(holder, size)
    this.#bytes += size
    for (const [oldest, bytes] of this.#sizes) {
      if (this.#bytes <= this.#bytesMax || oldest === holder) return
      if (oldest.indexPinned) continue
      oldest.index = undefined
      this.#sizes.delete(oldest)
      this.#bytes -= bytes
    }
  }

  /** Stops counting the holder. Its index is left to it. */
  forget(holder: IndexHolder): void {
    this.#bytes -= this.#sizes.get(holder) ?? 0
    this.#sizes.delete(holder)
  }
}
