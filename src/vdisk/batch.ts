/**
 * Batches of a commit queue (commit-queue.ts): one frame in the making each, with what is to be done when it is
 * acknowledged. A batch may hold more than 1 MiB of memory, so those of all vDisks of a CVM go round.
 */
import { MiB } from '../base/units.ts'
import { FrameBuilder } from '../extent-store/frame-writer.ts'
import type { SpaceUse } from '../extent-store/types.ts'
import type { Placement } from '../replication/stream-writer.ts'

/** Payload of one frame: large enough for a sequential write, small enough to fill egroups well. Bytes. */
const FRAME_PAYLOAD_BYTES = 1 * MiB
const LARGE_BYTES = FRAME_PAYLOAD_BYTES / 2
/** Batches that a CVM keeps for reuse, and the most memory that they may hold together. */
const SPARE_BATCHES_MAX = 256
const SPARE_BYTES_MAX = 24 * MiB
/** Rows of a column at first. */
const COLUMN_ROWS = 64

/** Egroup of a record: the frame's own, or none because the run is a hole. */
export const OWN_EGROUP = 0
export const HOLE = -1

/** Whoever has put something into a batch. Both are called once at most, in the turn in which it is decided. */
export interface CommitWaiter {
  /** The frame is on all copies, and its records are in the map. */
  acknowledged(placement: Placement): void
  /** Nothing of the frame is applied. */
  refused(error: unknown): void
}

/** Numbers in a row; emptied without giving its memory up. */
class Column {
  /** Those before `length` count. */
  values = new Float64Array(COLUMN_ROWS)
  length = 0

  push(value: number): void {
    if (this.length === this.values.length) {
      const grown = new Float64Array(this.length * 2)
      grown.set(this.values)
      this.values = grown
    }
    this.values[this.length++] = value
  }

  clear(): void {
    this.length = 0
  }
}

/** Records and fingerprints are in columns: no object per record. */
export class Batch {
  readonly builder = new FrameBuilder(FRAME_PAYLOAD_BYTES)
  readonly starts = new Column()
  readonly counts = new Column()
  readonly egroups = new Column()
  readonly refs = new Column()
  readonly fingerprintHi = new Column()
  readonly fingerprintLo = new Column()
  /** Relative slot << 3 | sub. */
  readonly fingerprintRefs = new Column()
  readonly waiters: CommitWaiter[] = []
  /** Must be durable at once, whatever the container's durability. */
  sync = false
  use: SpaceUse = 'data'

  /** Worth a frame of its own, whoever else may come. */
  get isLarge(): boolean {
    return this.builder.payloadBytes >= LARGE_BYTES
  }

  addMapped(start: number, count: number, egroup: number, ref: number): void {
    this.builder.addMapped(start, count, egroup, ref)
    this.remember(start, count, egroup, ref)
  }

  addHole(start: number, count: number): void {
    this.builder.addHole(start, count)
    this.remember(start, count, HOLE, 0)
  }

  addFingerprint(hi: number, lo: number, ref: number): void {
    this.builder.addFingerprint(hi, lo)
    this.fingerprintHi.push(hi)
    this.fingerprintLo.push(lo)
    this.fingerprintRefs.push(ref)
  }

  reset(): void {
    this.builder.reset()
    const { starts, counts, egroups, refs, fingerprintHi, fingerprintLo, fingerprintRefs } = this
    for (const column of [starts, counts, egroups, refs, fingerprintHi, fingerprintLo, fingerprintRefs]) {
      column.clear()
    }
    this.waiters.length = 0
    this.sync = false
  }

  private remember(start: number, count: number, egroup: number, ref: number): void {
    this.starts.push(start)
    this.counts.push(count)
    this.egroups.push(egroup)
    this.refs.push(ref)
  }
}

/** Empty batches of one CVM. */
export class BatchPool {
  private readonly spare: Batch[] = []
  private spareBytes = 0

  take(use: SpaceUse): Batch {
    const spare = this.spare.pop()
    if (spare !== undefined) this.spareBytes -= spare.builder.memoryBytes
    const batch = spare ?? new Batch()
    batch.use = use
    return batch
  }

  /** Nobody reads the batch's memory any more. */
  giveBack(batch: Batch): void {
    const bytes = batch.builder.memoryBytes
    if (this.spare.length >= SPARE_BATCHES_MAX || this.spareBytes + bytes > SPARE_BYTES_MAX) return
    batch.reset()
    this.spareBytes += bytes
    this.spare.push(batch)
  }
}
