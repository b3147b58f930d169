/**
 * The clients of one vDisk: concurrent loops that read, write and trim through the public API, and tell the disk's model
 * when each request began and how it ended. A request that ends in an error may have taken effect or not.
 */
import type { VDisk } from '../../api.ts'
import { asHitherError, type HitherError } from '../../base/errors.ts'
import type { SimLoop } from '../../platform/sim/loop.ts'
import type { Random } from '../../platform/types.ts'
import { CELL, cellBytes } from '../check/contents.ts'
import { DiskModel, type Violation } from '../check/register.ts'
import type { SnapshotModel } from '../check/register-snapshot.ts'
import type { PlannedDisk } from '../schedule/plan.ts'
import type { Tally } from '../tally.ts'
import { CELLS_MAX, PatternSource } from './patterns.ts'

/** A disk may grow to so many times of what it began with. */
const GROWTH_MAX = 2
/** Errors that a client may meet while the cluster is not whole, or full. Anything else is a finding. */
const ALLOWED: ReadonlySet<string> = new Set([
  'NO_REPLICAS',
  'NO_SPACE',
  'DATA_UNAVAILABLE',
  'TIMEOUT',
  'CVM_DOWN',
  'NOT_OWNER',
  'STALE_GENERATION',
  'LEASE_EXPIRED',
  'CONFLICT',
  'DEVICE_FAILED',
])

export interface LoadDeps {
  readonly loop: SimLoop
  readonly random: Random
  readonly tally: Tally
  readonly onViolation: (what: string) => void
}

export class DiskLoad {
  readonly plan: PlannedDisk
  readonly model: DiskModel
  readonly disk: VDisk
  private readonly deps: LoadDeps
  private running: Promise<void>[] = []
  private stopped = false
  /** Requests that were not answered yet. */
  readonly underWay = new Set<string>()
  private readonly source: PatternSource
  /** Cells that are certain to be there: a resize whose outcome is unknown may have left more, up to `mostCells`. */
  private sureCells: number
  private mostCells: number
  /** How often it became shorter: a request that was under way then may have been beyond its end. */
  private shrinks = 0

  /** @param disk as long as the plan says. */
  constructor(plan: PlannedDisk, disk: VDisk, model: DiskModel, deps: LoadDeps) {
    this.plan = plan
    this.disk = disk
    this.model = model
    this.deps = deps
    this.sureCells = plan.cells
    this.mostCells = plan.cells
    this.source = new PatternSource(plan.pattern, plan.readShare, deps.random)
  }

  /** The model of a disk that is as the plan says, or a clone of `parent`. */
  static modelOf(plan: PlannedDisk, parent?: SnapshotModel): DiskModel {
    return new DiskModel(plan.cells * GROWTH_MAX, parent)
  }

  /** How long it is; `undefined` while a resize has an unknown outcome. */
  get cells(): number | undefined {
    return this.sureCells === this.mostCells ? this.sureCells : undefined
  }

  get cellsMax(): number {
    return this.model.cells
  }

  start(): void {
    for (let i = 0; i < this.plan.clients; i++) this.running.push(this.client())
  }

  /** No new requests; resolves when those under way have ended. */
  async stop(): Promise<void> {
    this.stopped = true
    await Promise.all(this.running)
  }

  /** Reads all of it, and checks it. @param must whether a read that fails is a violation. */
  async readAll(must = true): Promise<void> {
    for (let cell = 0; cell < this.sureCells; cell += CELLS_MAX) {
      await this.read(cell, Math.min(CELLS_MAX, this.sureCells - cell), must)
    }
  }

  /** What is cut off is gone: it reads as zeros when the disk grows again. Rejects as the disk does. */
  async resize(cells: number): Promise<void> {
    const cut = Math.max(0, this.mostCells - cells)
    // From now on nobody asks for what goes.
    this.sureCells = Math.min(this.sureCells, cells)
    this.mostCells = Math.max(this.mostCells, cells)
    if (cut > 0) this.shrinks++
    const token = cut > 0 ? this.model.beginTrim(cells, cut) : undefined
    try {
      await this.disk.resize(cells * CELL, { discardData: cut > 0 })
    } catch (error) {
      if (token !== undefined) this.model.endWrite(token, 'unknown')
      throw error
    }
    if (token !== undefined) this.check(this.model.endWrite(token, 'acked'))
    this.sureCells = cells
    this.mostCells = cells
    this.deps.tally.op(cut > 0 ? 'shrink' : 'grow')
  }

  private async client(): Promise<void> {
    const { loop } = this.deps
    while (!this.stopped) {
      const request = this.source.next(this.sureCells)
      await loop.sleep(request.pause * this.plan.thinkMs)
      if (this.stopped) return
      const { what, first } = request
      const count = Math.min(request.count, this.sureCells - first)
      if (count <= 0) continue
      const name = `${what} of cells ${first}+${count} of ${this.plan.name} since ${loop.now.toFixed(0)} ms`
      this.underWay.add(name)
      if (what === 'read') await this.read(first, count, false)
      else if (what === 'trim') await this.trim(first, count)
      else await this.write(first, count)
      this.underWay.delete(name)
    }
  }

  private async write(first: number, count: number): Promise<void> {
    const { random, tally } = this.deps
    const { shrinks } = this
    const value = this.model.valuesFor(first, count)
    const data = cellBytes(first, count, value)
    const token = this.model.beginWrite(first, count, value)
    try {
      await this.disk.write(first * CELL, data, { fua: random.below(8) === 0 })
      this.check(this.model.endWrite(token, 'acked'))
      tally.op('write')
    } catch (error) {
      this.model.endWrite(token, 'unknown')
      this.failed('write', error, shrinks)
    }
    this.deps.loop.note(value)
  }

  private async trim(first: number, count: number): Promise<void> {
    const { shrinks } = this
    const token = this.model.beginTrim(first, count)
    try {
      await this.disk.trim(first * CELL, count * CELL)
      this.check(this.model.endWrite(token, 'acked'))
      this.deps.tally.op('trim')
    } catch (error) {
      this.model.endWrite(token, 'unknown')
      this.failed('trim', error, shrinks)
    }
  }

  private async read(first: number, count: number, must: boolean): Promise<void> {
    const { shrinks } = this
    const bytes = new Uint8Array(count * CELL)
    const token = this.model.beginRead(first, count)
    try {
      await this.disk.readInto(first * CELL, bytes)
    } catch (error) {
      this.model.endRead(token, undefined)
      this.failed('read', error, shrinks)
      if (must)
        this.deps.onViolation(
          `progress: ${this.plan.name} cannot be read after the last fault: ${String(error)}`,
        )
      return
    }
    this.deps.tally.op('read')
    this.check(this.model.endRead(token, bytes))
  }

  private check(violation: Violation | undefined): void {
    if (violation === undefined) return
    const { cell, kind, message } = violation
    this.deps.onViolation(`register: ${this.plan.name} cell ${cell}: ${kind}: ${message}`)
  }

  /** @param shrinks as it was when the request began. */
  private failed(what: string, cause: unknown, shrinks: number): void {
    const error: HitherError = asHitherError(cause)
    this.deps.tally.op(`${what} failed: ${error.code}`)
    if (error.code === 'OUT_OF_RANGE' && shrinks < this.shrinks) return
    if (!ALLOWED.has(error.code)) {
      this.deps.onViolation(`error: ${what} of ${this.plan.name}: ${error.code}: ${error.message}`)
    }
  }
}
