/**
 * The model of one vDisk: every cell (512 bytes) an atomic register. The driver tells the model when each operation
 * begins and ends; the model tells whether what a read returned can be (`Violation`), judging each cell's history by
 * register-cell.ts. Only cells that were written cost memory.
 *
 * Time is a counter of the disk: every begin and end takes the next tick, so no two moments are equal. The driver
 * calls in the order in which things happen in virtual time.
 */
import { HitherError } from '../../base/errors.ts'
import {
  CellHistory,
  type Fault,
  INHERITED,
  type Interval,
  NEVER,
  nameOf,
  type WriteOutcome,
  type Zone,
} from './register-cell.ts'
import { judgeBytes, placeOf, type Violation } from './register-read.ts'
import { SnapshotModel } from './register-snapshot.ts'
import { ValueSource } from './register-values.ts'

export type { Violation } from './register-read.ts'

/** Zones of a cell above which it is worth looking for some to forget. */
const PRUNE_ABOVE = 3

interface OpenOp {
  readonly start: number
}

export interface WriteToken extends OpenOp {
  readonly firstCell: number
  readonly zones: readonly Zone[]
}

export interface ReadToken extends OpenOp {
  readonly firstCell: number
  readonly count: number
}

export interface SnapshotToken extends OpenOp {
  readonly snapshot: true
}

export class DiskModel {
  readonly cells: number
  /** Shared by a disk and all clones of its snapshots. */
  readonly values: ValueSource
  readonly #parent: SnapshotModel | undefined
  readonly #histories = new Map<number, CellHistory>()
  /** Operations under way, oldest first. */
  readonly #open = new Set<OpenOp>()
  readonly #snapshots = new Set<SnapshotModel>()
  #tick = 0
  #deleted = false

  /** A disk of `cells` cells: all zeros, or a clone of `parent`. */
  constructor(cells: number, parent?: SnapshotModel) {
    this.cells = cells
    this.#parent = parent
    this.values = parent?.disk.values ?? new ValueSource()
    parent?.retain()
  }

  /** A value for the next write to these cells: new to them, in this disk and its whole family. */
  valuesFor(firstCell: number, count: number): number {
    this.#checkRange(firstCell, count)
    return this.values.next(firstCell, count)
  }

  beginWrite(firstCell: number, count: number, value: number): WriteToken {
    this.#checkRange(firstCell, count)
    const start = ++this.#tick
    const zones: Zone[] = []
    for (let cell = firstCell; cell < firstCell + count; cell++)
      zones.push(this.#touch(cell).begin(value, start))
    const token = { start, firstCell, zones }
    this.#open.add(token)
    return token
  }

  /** A trim, or a write of zeros. Ends by `endWrite`. */
  beginTrim(firstCell: number, count: number): WriteToken {
    return this.beginWrite(firstCell, count, 0)
  }

  /**
   * `acked`: done. `unknown`: may take effect at any later time, or never, cell by cell. `refused`: has no effect,
   * now or later; a violation when some read has seen it.
   */
  endWrite(token: WriteToken, outcome: Exclude<WriteOutcome, 'pending'>): Violation | undefined {
    const end = this.#close(token)
    let violation: Violation | undefined
    let cell = token.firstCell
    const pinned = this.#pinned()
    for (const zone of token.zones) {
      const history = this.#histories.get(cell)!
      if (outcome === 'acked') history.acknowledge(zone, end)
      else if (outcome === 'unknown') zone.outcome = 'unknown'
      else {
        const fault = history.refuse(zone)
        if (fault !== undefined)
          violation ??= this.#violation(cell, fault, `a write from ${token.start} to ${end}`)
      }
      if (history.zones.length > PRUNE_ABOVE) this.#prune(cell, history, pinned)
      cell++
    }
    return violation
  }

  beginRead(firstCell: number, count: number): ReadToken {
    this.#checkRange(firstCell, count)
    const token = { start: ++this.#tick, firstCell, count }
    this.#open.add(token)
    return token
  }

  /** `bytes`: what the read returned; `undefined` when it failed, which proves nothing. The first violation found. */
  endRead(token: ReadToken, bytes: Uint8Array | undefined): Violation | undefined {
    const read = { start: token.start, end: this.#close(token) }
    if (bytes === undefined) return undefined
    return judgeBytes(token.firstCell, token.count, bytes, (cell, value) => this.observe(cell, value, read))
  }

  /** A read of one cell that begins and ends now, for the sweep at the end of a run. */
  check(cell: number, bytes: Uint8Array): Violation | undefined {
    return this.endRead(this.beginRead(cell, 1), bytes)
  }

  /** The cells ever written or trimmed here, then those of the ancestors: all others must be zeros. */
  *written(): Iterable<number> {
    yield* this.#histories.keys()
    if (this.#parent === undefined) return
    for (const cell of this.#parent.disk.written()) {
      if (cell < this.cells && !this.#histories.has(cell)) yield cell
    }
  }

  snapshotBegin(): SnapshotToken {
    const token = { start: ++this.#tick, snapshot: true } as const
    this.#open.add(token)
    return token
  }

  /** The snapshot exists; it was taken at one moment since `snapshotBegin`. `release` it when it is deleted. */
  snapshotEnd(token: SnapshotToken): SnapshotModel {
    const end = this.#close(token)
    const snapshot = new SnapshotModel(this, { start: token.start, end }, () => {
      this.#snapshots.delete(snapshot)
      this.#releaseParent()
    })
    this.#snapshots.add(snapshot)
    return snapshot
  }

  /** The snapshot was not taken, or can never be read. */
  snapshotFailed(token: SnapshotToken): void {
    this.#close(token)
  }

  /** The disk is deleted: once its snapshots are, too, its parent need not remember for it. */
  release(): void {
    this.#deleted = true
    this.#releaseParent()
  }

  /** Judges one cell of a read. For this disk's reads and those of its snapshots. */
  observe(cell: number, value: number, read: Interval): Violation | undefined {
    const history = this.#histories.get(cell)
    if (history === undefined) {
      if (this.#parent !== undefined) return this.#parent.observe(cell, value)
      if (value === 0) return undefined
      return this.#violation(
        cell,
        { kind: 'nowhere', why: 'the cell was never written' },
        readOf(value, read),
      )
    }
    const inherited = history.inherited
    if (inherited !== undefined && this.#parent !== undefined) {
      inherited.value = this.#parent.known(cell) ?? INHERITED
      if (inherited.value === INHERITED && !history.zones.some((zone) => zone.value === value)) {
        const violation = this.#parent.observe(cell, value)
        if (violation !== undefined) return violation
        inherited.value = value
      } else if (inherited.value === INHERITED && value === 0) {
        // A trim here explains the zeros, or the parent's unknown value does: which, nothing tells yet.
        if (history.explainsZero(read)) return undefined
        const violation = this.#parent.observe(cell, value)
        if (violation !== undefined) return violation
        inherited.value = 0
      }
    }
    const fault = history.observe(value, read)
    return fault && this.#violation(cell, fault, readOf(value, read))
  }

  /** What the cell held before any write, if it was never written here and nothing else is possible. */
  knownOrigin(cell: number): number | undefined {
    if (this.#histories.has(cell)) return undefined
    return this.#parent === undefined ? 0 : this.#parent.known(cell)
  }

  /** The writes of the cell, for a snapshot that narrows down when it was taken. */
  zonesOf(cell: number): readonly Zone[] | undefined {
    return this.#histories.get(cell)?.zones
  }

  #releaseParent(): void {
    if (this.#deleted && this.#snapshots.size === 0) this.#parent?.release()
  }

  #touch(cell: number): CellHistory {
    let history = this.#histories.get(cell)
    if (history === undefined) {
      history = new CellHistory(this.#parent === undefined ? 0 : INHERITED)
      this.#histories.set(cell, history)
    }
    return history
  }

  #pinned(): readonly SnapshotModel[] {
    return this.#snapshots.size === 0 ? [] : [...this.#snapshots]
  }

  #prune(cell: number, history: CellHistory, snapshots: readonly SnapshotModel[]): void {
    let oldest = this.#tick + 1
    for (const op of this.#open) {
      oldest = op.start
      break
    }
    const pinned = snapshots.filter((snapshot) => !snapshot.hasShown(cell)).map((snapshot) => snapshot.taken)
    history.prune(oldest, pinned)
  }

  #close(token: OpenOp): number {
    if (!this.#open.delete(token))
      throw new HitherError('INTERNAL', 'An operation of the disk model was ended twice.')
    return ++this.#tick
  }

  #checkRange(firstCell: number, count: number): void {
    if (firstCell >= 0 && count > 0 && firstCell + count <= this.cells) return
    throw new HitherError(
      'OUT_OF_RANGE',
      `Cells ${firstCell}…${firstCell + count - 1} are not all of this disk, which has ${this.cells}.`,
    )
  }

  #violation(cell: number, fault: Fault, op: string): Violation {
    const history = this.#histories.get(cell)?.tell() ?? 'never written'
    return { cell, kind: fault.kind, message: `${placeOf(cell)}: ${op}: ${fault.why}. History: ${history}.` }
  }
}

function readOf(value: number, read: Interval): string {
  const to = read.end === NEVER ? '' : ` to ${read.end}`
  return `a read from ${read.start}${to} returned ${nameOf(value)}`
}
