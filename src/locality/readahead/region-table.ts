/**
 * Regions (256 KiB) of one vDisk that are being read at random, and densely: what a database does after a restart.
 * Three scattered remote reads in a region, and its rest is fetched.
 *
 * Such guesses are good or bad by workload, so they have a budget of their own that only success enlarges: the blocks
 * fetched and not yet read may be 768 KiB, plus four times what was read of earlier ones. Once guesses have proved right,
 * a region next to such regions needs fewer reads to follow.
 */
import type { BlockIndex } from '../../base/units.ts'

export const REGION_BLOCKS = 64
const REGIONS = 4096
const READS_NEEDED = 3
/** Neighbours on each side that speak for a region. */
const NEIGHBOURS = 4
/** Blocks: 768 KiB. */
const BUDGET_FIRST = 192
const BUDGET_PER_USED = 4
/** Guesses are trusted when this many blocks, and this part of all that were fetched, have been read. */
const TRUSTED_USED_MIN = 256
const TRUSTED_USED_RATIO = 0.4

const HALF = 32

export class RegionTable {
  readonly #rows = new Map<number, number>()
  readonly #region = new Float64Array(REGIONS).fill(-1)
  readonly #reads = new Uint8Array(REGIONS)
  readonly #asked = new Uint8Array(REGIONS)
  /** Blocks of a region that were asked for and not read since: bits 0…31 and 32…63. */
  readonly #unreadLow = new Uint32Array(REGIONS)
  readonly #unreadHigh = new Uint32Array(REGIONS)
  #nextRow = 0
  #fetched = 0
  #used = 0

  /** A read of `count` blocks, `heldBlocks` of which this node held: some of them thanks to this table. */
  noteUse(start: BlockIndex, count: number, heldBlocks: number): void {
    if (this.#fetched === 0) return
    let left = heldBlocks
    const end = start + count
    for (let at: number = start; at < end && left > 0; ) {
      const region = Math.floor(at / REGION_BLOCKS)
      const next = Math.min(end, (region + 1) * REGION_BLOCKS)
      const row = this.#rows.get(region)
      if (row !== undefined && this.#asked[row]) {
        const first = at - region * REGION_BLOCKS
        const used = Math.min(left, this.#takeUnread(row, first, first + next - at))
        left -= used
        this.#used += used
      }
      at = next
    }
  }

  /** Counts a remote read in `region` that belongs to no stream; tells whether its rest should be fetched now. */
  touch(region: number): boolean {
    const row = this.#rows.get(region) ?? this.#add(region)
    if (this.#reads[row]! < READS_NEEDED) this.#reads[row]!++
    if (this.#asked[row] || !this.#withinBudget()) return false
    if (this.#reads[row]! < this.#readsNeeded(region)) return false
    this.#asked[row] = 1
    return true
  }

  /** The caller did fetch `blocks` of the region. */
  noteFetched(region: number, blocks: number): void {
    this.#fetched += blocks
    const row = this.#rows.get(region)
    if (row === undefined) return
    this.#unreadLow[row] = 0xffff_ffff
    this.#unreadHigh[row] = 0xffff_ffff
  }

  #withinBudget(): boolean {
    return this.#fetched - this.#used <= BUDGET_FIRST + BUDGET_PER_USED * this.#used
  }

  #readsNeeded(region: number): number {
    if (this.#used < TRUSTED_USED_MIN || this.#used < this.#fetched * TRUSTED_USED_RATIO) return READS_NEEDED
    let needed = READS_NEEDED
    for (let distance = 1; distance <= NEIGHBOURS && needed > 1; distance++) {
      if (this.#wasAsked(region - distance)) needed--
      if (this.#wasAsked(region + distance)) needed--
    }
    return Math.max(1, needed)
  }

  #wasAsked(region: number): boolean {
    const row = this.#rows.get(region)
    return row !== undefined && this.#asked[row] === 1
  }

  #add(region: number): number {
    const row = this.#nextRow
    this.#nextRow = row + 1 === REGIONS ? 0 : row + 1
    this.#rows.delete(this.#region[row]!)
    this.#region[row] = region
    this.#rows.set(region, row)
    this.#reads[row] = 0
    this.#asked[row] = 0
    this.#unreadLow[row] = 0
    this.#unreadHigh[row] = 0
    return row
  }

  /** Marks blocks `from` … `to − 1` of the region as read; returns how many were asked for and unread. */
  #takeUnread(row: number, from: number, to: number): number {
    const low = bits(from, Math.min(to, HALF))
    const high = bits(from - HALF, to - HALF)
    const taken = popcount(this.#unreadLow[row]! & low) + popcount(this.#unreadHigh[row]! & high)
    this.#unreadLow[row]! &= ~low
    this.#unreadHigh[row]! &= ~high
    return taken
  }
}

/** Ones at `from` … `to − 1`, of 32 bits; what lies outside is left out. */
function bits(from: number, to: number): number {
  const first = Math.max(0, from)
  if (to <= first) return 0
  const width = to - first
  return width === HALF ? -1 : ((1 << width) - 1) << first
}

function popcount(word: number): number {
  let v = word - ((word >>> 1) & 0x5555_5555)
  v = (v & 0x3333_3333) + ((v >>> 2) & 0x3333_3333)
  return Math.imul((v + (v >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}
