/**
 * The model of a snapshot: what its disk held at one moment within the snapshot call. A read of one of its cells is a
 * read of the disk's cell in that interval, however late it comes; after that the cell must never change. What a cell
 * shows also narrows down the moment: after the begin of the write that is seen, before the end of one that is not.
 * So the snapshot must be one image of all cells, not a mixture of several moments.
 */
import type { DiskModel } from './register.ts'
import { type Interval, nameOf } from './register-cell.ts'
import { judgeBytes, placeOf, type Violation } from './register-read.ts'

export class SnapshotModel {
  readonly disk: DiskModel
  /** Between which ticks of the disk's clock it was taken, as far as is known by now. */
  taken: Interval
  /** What the cells that were read are for good. Only cells that the disk has written since its creation. */
  readonly #shown = new Map<number, number>()
  readonly #onUnused: () => void
  /** The snapshot itself and its clones. */
  #users = 1

  constructor(disk: DiskModel, taken: Interval, onUnused: () => void) {
    this.disk = disk
    this.taken = taken
    this.#onUnused = onUnused
  }

  /** A clone depends on it. */
  retain(): void {
    this.#users++
  }

  /** The snapshot, or a clone of it, is deleted; after the last one the disk need not remember for it. */
  release(): void {
    if (--this.#users === 0) this.#onUnused()
  }

  /** Judges a read of the snapshot that returned `bytes` for `count` cells from `firstCell`. */
  check(firstCell: number, count: number, bytes: Uint8Array): Violation | undefined {
    return judgeBytes(firstCell, count, bytes, (cell, value) => this.observe(cell, value))
  }

  /** The cells that may hold something else than zeros. */
  written(): Iterable<number> {
    return this.disk.written()
  }

  hasShown(cell: number): boolean {
    return this.#shown.has(cell)
  }

  /** The only value that the cell can have, when there is only one. */
  known(cell: number): number | undefined {
    return this.#shown.get(cell) ?? this.disk.knownOrigin(cell)
  }

  /** Judges one cell of a read of the snapshot, or of a clone that has not written the cell. */
  observe(cell: number, value: number): Violation | undefined {
    const shown = this.#shown.get(cell)
    if (shown !== undefined) {
      if (shown === value) return undefined
      const message = `${placeOf(cell)}: a snapshot returned ${nameOf(value)} where it had returned ${nameOf(shown)} before.`
      return { cell, kind: 'snapshot', message }
    }
    const violation = this.disk.observe(cell, value, this.taken)
    if (violation !== undefined) return violation
    const zones = this.disk.zonesOf(cell)
    if (zones === undefined) return undefined
    this.#shown.set(cell, value)
    if (value === 0) return undefined
    const seen = zones.find((zone) => zone.value === value)
    if (seen === undefined) return undefined
    let { start, end } = this.taken
    start = Math.max(start, seen.start)
    for (const zone of zones) if (zone.start > seen.first) end = Math.min(end, zone.end)
    this.taken = { start, end }
    return undefined
  }
}
