/**
 * The clients of one vDisk: concurrent loops that read, write and trim through the public API, and tell the disk's model
 * when each request began and how it ended. A request that ends in an error may have taken effect or not.
 */
import type { VDisk } from '../../api.ts'
import { asHitherError, type HitherError } from '../../base/errors.ts'
import { exp2, log2 } from '../../base/exact-math.ts'
import type { SimLoop } from '../../platform/sim/loop.ts'
import type { Random } from '../../platform/types.ts'
import { CELL, cellBytes } from '../check/contents.ts'
import type { DiskModel, Violation } from '../check/register.ts'
import type { PlannedDisk } from '../schedule/plan.ts'
import type { Tally } from '../tally.ts'

const CELLS_PER_BLOCK = 8
/** Longest request: 128 KiB. */
const CELLS_MAX = 256
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
  private position = 0

  constructor(plan: PlannedDisk, disk: VDisk, model: DiskModel, deps: LoadDeps) {
    this.plan = plan
    this.disk = disk
    this.model = model
    this.deps = deps
  }

  start(): void {
    for (let i = 0; i < this.plan.clients; i++) this.running.push(this.client())
  }

  /** No new requests; resolves when those under way have ended. */
  async stop(): Promise<void> {
    this.stopped = true
    await Promise.all(this.running)
  }

  /** Reads all that was ever written, and checks it. */
  async readAll(): Promise<void> {
    for (let cell = 0; cell < this.plan.cells; cell += CELLS_MAX) {
      await this.read(cell, Math.min(CELLS_MAX, this.plan.cells - cell), true)
    }
  }

  private async client(): Promise<void> {
    const { loop, random } = this.deps
    while (!this.stopped) {
      await loop.sleep(random.below(2 * this.plan.thinkMs))
      if (this.stopped) return
      const [first, count] = this.place()
      const what =
        random.below(1000) < this.plan.readShare * 1000 ? 'read' : random.below(12) === 0 ? 'trim' : 'write'
      const name = `${what} of cells ${first}+${count} of ${this.plan.name} since ${loop.now.toFixed(0)} ms`
      this.underWay.add(name)
      if (what === 'read') await this.read(first, count, false)
      else if (what === 'trim') await this.trim(first, count)
      else await this.write(first, count)
      this.underWay.delete(name)
    }
  }

  private place(): [first: number, count: number] {
    const { random } = this.deps
    const { cells, pattern } = this.plan
    const blocks = cells / CELLS_PER_BLOCK
    let count = CELLS_PER_BLOCK * (random.below(8) === 0 ? 1 + random.below(CELLS_MAX / CELLS_PER_BLOCK) : 1)
    let first: number
    switch (pattern) {
      case 'random':
        first = random.below(blocks) * CELLS_PER_BLOCK
        break
      case 'sequential':
        first = this.position
        this.position = (this.position + count) % cells
        break
      case 'hot':
        first = random.below(Math.min(8, blocks)) * CELLS_PER_BLOCK
        break
      case 'zipf':
        first = Math.floor(exp2((log2(blocks) * random.below(1000)) / 1000) - 1) * CELLS_PER_BLOCK
        break
      case 'unaligned':
        first = random.below(cells)
        count = 1 + random.below(24)
        break
    }
    return [first, Math.min(count, cells - first)]
  }

  private async write(first: number, count: number): Promise<void> {
    const { random, tally } = this.deps
    const value = this.model.valuesFor(first, count)
    const data = cellBytes(first, count, value)
    const token = this.model.beginWrite(first, count, value)
    try {
      await this.disk.write(first * CELL, data, { fua: random.below(8) === 0 })
      this.check(this.model.endWrite(token, 'acked'))
      tally.op('write')
    } catch (error) {
      this.model.endWrite(token, 'unknown')
      this.failed('write', error)
    }
    this.deps.loop.note(value)
  }

  private async trim(first: number, count: number): Promise<void> {
    const token = this.model.beginTrim(first, count)
    try {
      await this.disk.trim(first * CELL, count * CELL)
      this.check(this.model.endWrite(token, 'acked'))
      this.deps.tally.op('trim')
    } catch (error) {
      this.model.endWrite(token, 'unknown')
      this.failed('trim', error)
    }
  }

  private async read(first: number, count: number, must: boolean): Promise<void> {
    const bytes = new Uint8Array(count * CELL)
    const token = this.model.beginRead(first, count)
    try {
      await this.disk.readInto(first * CELL, bytes)
    } catch (error) {
      this.model.endRead(token, undefined)
      this.failed('read', error)
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

  private failed(what: string, cause: unknown): void {
    const error: HitherError = asHitherError(cause)
    this.deps.tally.op(`${what} failed: ${error.code}`)
    if (!ALLOWED.has(error.code)) {
      this.deps.onViolation(`error: ${what} of ${this.plan.name}: ${error.code}: ${error.message}`)
    }
  }
}
