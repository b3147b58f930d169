/**
 * Which 64 KiB units of one device's data area are free. In memory only: the copy table says which are used, and the
 * allocator is rebuilt from it at open, so it can never disagree with the table after a crash.
 *
 * Allocation takes the first contiguous run that is long enough (first fit: space that was written before is used
 * again, which syncs faster on a file than space that was not, and keeps a sparse medium small), and else gathers
 * runs from the front: a full device can always use its last unit. `keep` is how callers leave the reserve alone that
 * compaction lives on.
 */
import { Bitset } from '../base/bitset.ts'
import { invariant } from '../base/errors.ts'

/** A run of units of the data area. */
export interface Extent {
  readonly start: number
  readonly count: number
}

const WORD_BITS = 32

export class UnitAllocator {
  readonly units: number
  readonly #used: Uint32Array
  /** Units that were given back: they have been written before, as a rule. */
  readonly #worn = new Bitset()
  #usedUnits = 0
  /** No unit before this one is free. */
  #firstFree = 0

  constructor(units: number) {
    this.units = units
    this.#used = new Uint32Array(Math.ceil(units / WORD_BITS))
  }

  get usedUnits(): number {
    return this.#usedUnits
  }

  get freeUnits(): number {
    return this.units - this.#usedUnits
  }

  /**
   * Takes `count` units, in as few runs as it finds, so that `keep` units stay free. `undefined` (and nothing is
   * taken) when there is no room.
   */
  allocate(count: number, keep: number): Extent[] | undefined {
    if (count === 0) return []
    if (this.freeUnits - count < keep) return undefined
    const whole = this.#findRun(count)
    const extents = whole === undefined ? this.#gather(count) : [{ start: whole, count }]
    for (const extent of extents) this.#mark(extent)
    return extents
  }

  /** As `allocate`, but prefers the units right behind `extents`, and returns the merged list. */
  extend(extents: readonly Extent[], count: number, keep: number): Extent[] | undefined {
    if (this.freeUnits - count < keep) return undefined
    const last = extents[extents.length - 1]
    if (last !== undefined) {
      const behind = { start: last.start + last.count, count }
      if (this.#isFree(behind)) {
        this.#mark(behind)
        return [...extents.slice(0, -1), { start: last.start, count: last.count + count }]
      }
    }
    const more = this.allocate(count, keep)
    return more === undefined ? undefined : [...extents, ...more]
  }

  /** Takes exactly these units; `false` (and nothing is taken) when one is used already or outside the device. */
  claim(extents: readonly Extent[]): boolean {
    const taken: Extent[] = []
    for (const extent of extents) {
      if (!this.#isFree(extent)) {
        this.free(taken)
        return false
      }
      this.#mark(extent)
      taken.push(extent)
    }
    return true
  }

  /** Gives units back. They must be in use. */
  free(extents: readonly Extent[]): void {
    for (const { start, count } of extents) {
      this.#firstFree = Math.min(this.#firstFree, start)
      for (let unit = start; unit < start + count; unit++) {
        invariant(this.#isUsed(unit), `unit ${unit} is freed once`)
        this.#used[unit >>> 5] = this.#used[unit >>> 5]! & ~(1 << (unit & 31))
        this.#worn.set(unit)
      }
      this.#usedUnits -= count
    }
  }

  /** Whether any unit from `start` to before `end` was never given back since the device was opened. */
  hasFresh(start: number, end: number): boolean {
    for (let unit = start; unit < end; unit++) if (!this.#worn.has(unit)) return true
    return false
  }

  #isUsed(unit: number): boolean {
    return (this.#used[unit >>> 5]! & (1 << (unit & 31))) !== 0
  }

  #isFree({ start, count }: Extent): boolean {
    if (count === 0 || start + count > this.units) return false
    for (let unit = start; unit < start + count; unit++) if (this.#isUsed(unit)) return false
    return true
  }

  #mark({ start, count }: Extent): void {
    for (let unit = start; unit < start + count; unit++) {
      this.#used[unit >>> 5] = this.#used[unit >>> 5]! | (1 << (unit & 31))
    }
    this.#usedUnits += count
    if (start === this.#firstFree) this.#firstFree = start + count
  }

  /** First free run of `count` units. */
  #findRun(count: number): number | undefined {
    let run = 0
    for (let unit = this.#firstFree; unit < this.units; unit++) {
      if ((unit & 31) === 0 && this.#used[unit >>> 5] === 0xffff_ffff) {
        run = 0
        unit += WORD_BITS - 1
      } else if (this.#isUsed(unit)) {
        run = 0
      } else if (++run === count) {
        return unit - count + 1
      }
    }
    return undefined
  }

  /** Free runs from the front, `count` units in all, which are known to be there. Not marked yet. */
  #gather(count: number): Extent[] {
    const extents: Extent[] = []
    let missing = count
    for (let unit = this.#firstFree; missing > 0; unit++) {
      if (this.#isUsed(unit)) continue
      const start = unit
      while (unit < this.units && missing > 0 && !this.#isUsed(unit)) {
        unit++
        missing--
      }
      extents.push({ start, count: unit - start })
    }
    return extents
  }
}
