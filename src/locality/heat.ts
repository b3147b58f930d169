/**
 * How warm a group of blocks (an egroup) is, in bounded memory: two counters over one kind of table.
 *
 * `TouchWindow` is the classic rule. A touch is an access to a group from a node without a copy; all touches of one
 * kind within one 10-second sample count once; a group is hot with 3 samples of random or 10 of sequential touches
 * in the last 10 minutes. "At least n within the window" needs only the newest n samples, so a group costs 13 small
 * numbers.
 *
 * `HeatTable` is a count that halves every half-life: what tiering and balance order groups by. It decays when it is
 * read or touched, never by a scan.
 *
 * Both forget the group that was added first when the table is full: a group still in use comes back at its next touch.
 */
import { invariant } from '../base/errors.ts'
import { exp2 } from '../base/exact-math.ts'

export const TOUCH_SAMPLE_MS = 10_000
export const TOUCH_WINDOW_MS = 10 * 60_000
export const RANDOM_TOUCHES_HOT = 3
export const SEQUENTIAL_TOUCHES_HOT = 10

const WINDOW_SAMPLES = TOUCH_WINDOW_MS / TOUCH_SAMPLE_MS
/** Older than any sample. */
const NO_SAMPLE = -(2 ** 31)
const NOWHERE = -1
const GROUPS_DEFAULT = 4096

export type TouchKind = 'random' | 'sequential'

/** Rows for keys, first in first out when full. */
class RowTable {
  readonly capacity: number
  readonly #rows = new Map<number, number>()
  readonly #keys: Float64Array
  #next = 0

  constructor(capacity: number) {
    invariant(Number.isInteger(capacity) && capacity > 0, 'a heat table has at least one row')
    this.capacity = capacity
    this.#keys = new Float64Array(capacity)
  }

  get size(): number {
    return this.#rows.size
  }

  find(key: number): number | undefined {
    return this.#rows.get(key)
  }

  /** A row for a key that has none; `clear` wipes it, as it may have been another's. */
  add(key: number, clear: (row: number) => void): number {
    const row = this.#next
    this.#next = row + 1 === this.capacity ? 0 : row + 1
    const previous = this.#keys[row]!
    if (this.#rows.get(previous) === row) this.#rows.delete(previous)
    this.#keys[row] = key
    this.#rows.set(key, row)
    clear(row)
    return row
  }

  remove(key: number): void {
    this.#rows.delete(key)
  }
}

export class TouchWindow {
  readonly #table: RowTable
  readonly #random: Int32Array
  readonly #sequential: Int32Array
  /** Address after the last touch, by row: a touch that starts there is sequential. */
  readonly #end: Float64Array

  /** `capacity`: groups remembered. 64 bytes each, and a map entry. */
  constructor(capacity = GROUPS_DEFAULT) {
    this.#table = new RowTable(capacity)
    this.#random = new Int32Array(capacity * RANDOM_TOUCHES_HOT)
    this.#sequential = new Int32Array(capacity * SEQUENTIAL_TOUCHES_HOT)
    this.#end = new Float64Array(capacity)
  }

  get size(): number {
    return this.#table.size
  }

  /**
   * Counts an access to `count` units from `address` on (any unit, but one unit for one group), and tells whether the
   * group is hot by it. A run is one random touch, or a sequential one when it goes on where the last ended, and the
   * rest of the run is sequential. `now`: milliseconds, monotonic.
   */
  touch(group: number, address: number, count: number, now: number): boolean {
    const row = this.#table.find(group) ?? this.#table.add(group, this.#clear)
    const sample = Math.floor(now / TOUCH_SAMPLE_MS)
    const continues = this.#end[row] === address
    this.#end[row] = address + count
    let hot = false
    if (!continues) hot = note(this.#random, row, RANDOM_TOUCHES_HOT, sample)
    if (continues || count > 1) hot = note(this.#sequential, row, SEQUENTIAL_TOUCHES_HOT, sample) || hot
    return hot
  }

  /** Samples with touches of this kind in the window; at most the number that makes a group hot. */
  touches(group: number, kind: TouchKind, now: number): number {
    const row = this.#table.find(group)
    if (row === undefined) return 0
    const samples = kind === 'random' ? this.#random : this.#sequential
    const width = kind === 'random' ? RANDOM_TOUCHES_HOT : SEQUENTIAL_TOUCHES_HOT
    const oldest = Math.floor(now / TOUCH_SAMPLE_MS) - WINDOW_SAMPLES
    let touches = 0
    for (let at = row * width; at < (row + 1) * width; at++) if (samples[at]! >= oldest) touches++
    return touches
  }

  forget(group: number): void {
    this.#table.remove(group)
  }

  readonly #clear = (row: number): void => {
    this.#random.fill(NO_SAMPLE, row * RANDOM_TOUCHES_HOT, (row + 1) * RANDOM_TOUCHES_HOT)
    this.#sequential.fill(NO_SAMPLE, row * SEQUENTIAL_TOUCHES_HOT, (row + 1) * SEQUENTIAL_TOUCHES_HOT)
    this.#end[row] = NOWHERE
  }
}

/** Puts `sample` at the newest place of the row unless it is there; tells whether the oldest is within the window. */
function note(samples: Int32Array, row: number, width: number, sample: number): boolean {
  const first = row * width
  const newest = first + width - 1
  if (samples[newest] !== sample) {
    samples.copyWithin(first, first + 1, first + width)
    samples[newest] = sample
  }
  return samples[first]! >= sample - WINDOW_SAMPLES
}

/** Accesses per group with exponential decay. */
export class HeatTable {
  readonly #table: RowTable
  readonly #heat: Float64Array
  readonly #touchedAt: Float64Array
  readonly #halfLifeMs: number

  constructor(options: { capacity?: number; halfLifeMs?: number } = {}) {
    const { capacity = 65_536, halfLifeMs = 60 * 60_000 } = options
    this.#table = new RowTable(capacity)
    this.#heat = new Float64Array(capacity)
    this.#touchedAt = new Float64Array(capacity)
    this.#halfLifeMs = halfLifeMs
  }

  get size(): number {
    return this.#table.size
  }

  /** Adds `weight` (one access by default) at `now`, ms. */
  touch(group: number, now: number, weight = 1): void {
    const row = this.#table.find(group) ?? this.#table.add(group, this.#clear)
    this.#heat[row] = this.#decayed(row, now) + weight
    this.#touchedAt[row] = now
  }

  /** Decayed accesses at `now`; 0 for a group that was never touched, or forgotten. */
  heat(group: number, now: number): number {
    const row = this.#table.find(group)
    return row === undefined ? 0 : this.#decayed(row, now)
  }

  /** When the group was touched last, ms; −Infinity when never, or forgotten. */
  lastTouch(group: number): number {
    const row = this.#table.find(group)
    return row === undefined ? Number.NEGATIVE_INFINITY : this.#touchedAt[row]!
  }

  forget(group: number): void {
    this.#table.remove(group)
  }

  #decayed(row: number, now: number): number {
    const age = Math.max(0, now - this.#touchedAt[row]!)
    return this.#heat[row]! * exp2(-age / this.#halfLifeMs)
  }

  readonly #clear = (row: number): void => {
    this.#heat[row] = 0
    this.#touchedAt[row] = 0
  }
}
