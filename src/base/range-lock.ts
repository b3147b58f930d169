/**
 * Exclusive locks over ranges [start, end) of block numbers (or any integers).
 *
 * Fairness: a request waits for every range that was held or asked for before it and overlaps it. So overlapping
 * requests are served in the order in which they came, nobody starves, and requests that touch nothing in common
 * never wait for each other. A task that holds one range and asks for another that overlaps it waits for itself: do
 * not.
 *
 * Nearly all requests meet nobody, and are small. So ranges are counted by the places that they cover, by hash: a request
 * whose places are empty overlaps nothing, whoever else is there. Only others are compared with all, which the places in
 * flight of a vDisk bound.
 */
import { invariant } from './errors.ts'

const PLACES = 1024
/** A range that covers more places than this is wide: while there is one, everybody is compared with all. */
const WIDE_PLACES = 16

/** A range that is held or waited for. Opaque: it is taken from a lock, and given back to it. */
export interface LockedRange {
  readonly start: number
  readonly end: number
}

class Entry implements LockedRange {
  readonly start: number
  readonly end: number
  /** In order of arrival. */
  readonly number: number
  /** Ranges that came before and overlap; 0 means held. */
  blockers: number
  wake: (() => void) | undefined
  /** Where it is among all; −1: it was given back. */
  index = -1

  constructor(start: number, end: number, number: number, blockers: number) {
    this.start = start
    this.end = end
    this.number = number
    this.blockers = blockers
  }
}

export class RangeLock {
  /** Bounds are multiples of so many, mostly. */
  readonly #unit: number
  /** Held and waiting, in no order. */
  readonly #entries: Entry[] = []
  /** How many ranges cover each place. */
  readonly #crowd = new Uint16Array(PLACES)
  #wide = 0
  #held = 0
  #arrivals = 0

  /** @param unit what ranges are mostly made of: a place is so long */
  constructor(unit = 1) {
    this.#unit = unit
  }

  /** Ranges held now. */
  get held(): number {
    return this.#held
  }

  /** Requests that wait now. */
  get waiting(): number {
    return this.#entries.length - this.#held
  }

  /** Takes the range when nothing that overlaps it is held or waited for. */
  tryLock(start: number, end: number): LockedRange | undefined {
    return this.#countOverlaps(start, end) > 0 ? undefined : this.#add(start, end, 0)
  }

  /** Resolves when the caller holds the range. */
  lock(start: number, end: number): Promise<LockedRange> {
    const entry = this.#add(start, end, this.#countOverlaps(start, end))
    if (entry.blockers === 0) return Promise.resolve(entry)
    return new Promise((resolve) => {
      entry.wake = () => resolve(entry)
    })
  }

  /** Gives a range back that is held. */
  unlock(range: LockedRange): void {
    const entry = range as Entry
    const entries = this.#entries
    invariant(
      entry.blockers === 0 && entries[entry.index] === entry,
      'a range is given back once, by its holder',
    )
    const last = entries.pop()!
    if (last !== entry) {
      entries[entry.index] = last
      last.index = entry.index
    }
    entry.index = -1
    this.#held--
    this.#countPlaces(entry.start, entry.end, -1)
    if (this.#held === entries.length) return
    const { start, end, number } = entry
    const freed: Entry[] = []
    for (const later of entries) {
      if (later.number < number || later.start >= end || later.end <= start) continue
      if (--later.blockers === 0) freed.push(later)
    }
    this.#held += freed.length
    for (const next of freed.sort((a, b) => a.number - b.number)) next.wake?.()
  }

  #add(start: number, end: number, blockers: number): Entry {
    const entry = new Entry(start, end, this.#arrivals++, blockers)
    entry.index = this.#entries.length
    this.#entries.push(entry)
    this.#countPlaces(start, end, 1)
    if (blockers === 0) this.#held++
    return entry
  }

  #countOverlaps(start: number, end: number): number {
    invariant(start < end, 'a locked range is not empty')
    if (this.#isAlone(start, end)) return 0
    let count = 0
    for (const entry of this.#entries) {
      if (entry.start < end && entry.end > start) count++
    }
    return count
  }

  /** `true`: no range covers a place that this one covers. */
  #isAlone(start: number, end: number): boolean {
    const first = Math.floor(start / this.#unit)
    const last = Math.floor((end - 1) / this.#unit)
    if (this.#wide > 0 || last - first >= WIDE_PLACES) return this.#entries.length === 0
    for (let place = first; place <= last; place++) if (this.#crowd[place & (PLACES - 1)] !== 0) return false
    return true
  }

  #countPlaces(start: number, end: number, change: 1 | -1): void {
    const first = Math.floor(start / this.#unit)
    const last = Math.floor((end - 1) / this.#unit)
    if (last - first >= WIDE_PLACES) {
      this.#wide += change
      return
    }
    for (let place = first; place <= last; place++) this.#crowd[place & (PLACES - 1)]! += change
  }
}
