/**
 * A vDisk on the CVM that owns it: read path, write path, group commit, map, checkpoints, snapshots, composed.
 * `OwnedVDisk.activate` is the last part of a takeover: it loads the root and replays the log behind it.
 */

import type { AllocationRun } from '../api.ts'
import { diskRangeError } from '../base/disk-range.ts'
import { HitherError } from '../base/errors.ts'
import { Mutex } from '../base/queue.ts'
import { BLOCK_BYTES, MiB, VBLOCK_BYTES } from '../base/units.ts'
import {
  type ContainerRecord,
  encodeRecord,
  keys,
  type RootRecord,
  type SnapshotRecord,
  type VDiskRecord,
} from '../cluster/records.ts'
import type { OwnerGuard } from '../replication/owner-guard.ts'
import type { Placement, StreamWriter } from '../replication/stream-writer.ts'
import { allocationOf } from './allocation.ts'
import { AttemptGuard, type WriteAttempt } from './attempt-guard.ts'
import { type Batch, HOLE, OWN_EGROUP } from './batch.ts'
import { writeCheckpoint } from './checkpoint.ts'
import { CommitQueue } from './commit-queue.ts'
import type { VDiskServices } from './context.ts'
import { VDiskCounters } from './counters.ts'
import { loadPageWords } from './load-page.ts'
import { cacheOverwritten, type OverwrittenDeps } from './overwritten.ts'
import { PageMap } from './page-map.ts'
import { type KeepSlices, Prefetcher } from './prefetcher.ts'
import { putSize } from './put-size.ts'
import { ReadPath } from './read-path.ts'
import { Reducer } from './reduce.ts'
import { RootWriter } from './root-writer.ts'
import { WritePath } from './write-path.ts'

/** Log bytes after which a checkpoint starts: bounds the replay of a takeover. */
const CHECKPOINT_LOG_BYTES = 128 * MiB
/** Dirty leaf pages (2 KiB each) after which a checkpoint starts; at twice that, writes wait for it. */
const CHECKPOINT_DIRTY_LEAVES = 8192
/** An idle vDisk is checkpointed after this time, once, when its turn comes (idle-checkpoints.ts). Milliseconds. */
const IDLE_CHECKPOINT_MS = 10_000

export interface Activation {
  readonly record: VDiskRecord
  readonly policy: ContainerRecord
  readonly root: RootRecord
  readonly guard: OwnerGuard
  readonly generation: number
  /** A writer whose first egroup comes behind everything that is in the stream. */
  readonly stream: StreamWriter
  /** Replays the log behind `root` into the map; returns frames applied. */
  readonly replay: (map: PageMap) => Promise<number>
}

export class OwnedVDisk {
  readonly id: number
  readonly generation: number
  readonly policy: ContainerRecord
  readonly counters: VDiskCounters
  readonly map: PageMap
  readonly stream: StreamWriter
  readonly guard: OwnerGuard
  private record: VDiskRecord
  private readonly services: VDiskServices
  private readonly overwritten: OverwrittenDeps
  private readonly queue: CommitQueue
  private readonly prefetcher: Prefetcher
  private readonly reads: ReadPath
  private readonly writes: WritePath
  private readonly roots: RootWriter
  private readonly attempts: AttemptGuard
  private readonly checkpointing = new Mutex()
  private checkpointAt = 0
  private checkpointRunning: Promise<void> | undefined
  private cancelIdle: (() => void) | undefined
  /** In the line of the idle ones. */
  private waitsForCheckpoint = false
  private stopped: HitherError | undefined

  private constructor(activation: Activation, services: VDiskServices) {
    const { record, policy, root, guard, generation, stream } = activation
    this.id = record.id
    this.record = record
    this.policy = policy
    this.guard = guard
    this.generation = generation
    this.stream = stream
    this.services = services
    this.roots = new RootWriter(services.catalog, guard)
    this.attempts = new AttemptGuard(generation)
    this.counters = new VDiskCounters(services.counters)
    const loader = (ref: { egroup: number; slot: number }) => loadPageWords(services.reader, ref)
    this.map = new PageMap(root.root, root.levels, root.mappedBlocks, loader, services.pages)
    const { cache, streamOf } = services
    this.overwritten = { cache, map: this.map, vdisk: this.id, streamOf }
    this.queue = new CommitQueue(
      {
        stream,
        batches: services.batches,
        clock: services.clock,
        syncEachFrame: policy.durability === 'sync',
        apply: (batch, placement) => this.apply(batch, placement),
        onFatal: (error) => this.depose(error),
        reads: () => this.counters.reads,
      },
      stream.position,
    )
    this.prefetcher = new Prefetcher(this.map, services)
    this.reads = new ReadPath(this.id, this.map, services, this.counters, this.prefetcher)
    const reducer = new Reducer({
      compression: policy.compression,
      dedupe: policy.dedupe,
      candidates: services.candidates,
      cache: services.cache,
      reader: services.reader,
      packer: services.packer,
      onHit: services.onHit,
      counters: this.counters,
    })
    this.writes = new WritePath({
      map: this.map,
      queue: this.queue,
      reducer,
      reads: this.reads,
      throttle: () => this.throttle(),
      makeRoom: services.makeRoom,
      onWritten: (bytes) => {
        this.counters.countWrite(bytes)
        this.afterWrite()
      },
    })
  }

  static async activate(
    activation: Activation,
    services: VDiskServices,
  ): Promise<{ vdisk: OwnedVDisk; replayedFrames: number }> {
    const vdisk = new OwnedVDisk(activation, services)
    await vdisk.map.grow(Math.ceil(activation.record.size / VBLOCK_BYTES))
    const replayedFrames = await activation.replay(vdisk.map)
    if (replayedFrames > 0) vdisk.armIdleCheckpoint()
    return { vdisk, replayedFrames }
  }

  get size(): number {
    return this.record.size
  }

  get name(): string {
    return this.record.name
  }

  get info(): VDiskRecord {
    return this.record
  }

  get mappedBytes(): number {
    return this.map.mappedBlocks * BLOCK_BYTES
  }

  /** `undefined`: it is done. */
  readInto(offset: number, target: Uint8Array): Promise<void> | undefined {
    try {
      this.check(offset, target.length)
    } catch (error) {
      return Promise.reject(error)
    }
    return target.length === 0 ? undefined : this.reads.readInto(offset, target)
  }

  /**
   * Brings here what no copy on this node holds of `count` blocks from `start`, ahead of need; what is past the end is
   * left out. Returns the number of those blocks that were fetched. See prefetcher.ts.
   */
  async prefetch(start: number, count: number, keep: KeepSlices): Promise<number> {
    this.assertServing()
    const end = Math.min(start + count, Math.ceil(this.record.size / BLOCK_BYTES))
    return start >= end ? 0 : this.prefetcher.fetch(start, end - start, keep)
  }

  /**
   * `OwnerMoved`, or `CONFLICT` for an attempt that comes too late (attempt-guard.ts). Without `attempt`: it comes from this
   * CVM itself, and cannot be late.
   */
  write(offset: number, data: Uint8Array, sync: boolean, attempt?: WriteAttempt): Promise<void> {
    try {
      this.check(offset, data.length)
      this.assertWritable()
      if (attempt !== undefined) this.attempts.admit(attempt)
    } catch (error) {
      return Promise.reject(error)
    }
    return data.length === 0 ? Promise.resolve() : this.writes.write(offset, data, sync)
  }

  /** Writes what records the freeing of space, and so must find room when the cluster is full. Durable when it resolves. */
  async writeRecords(offset: number, data: Uint8Array): Promise<void> {
    this.check(offset, data.length)
    this.assertWritable()
    await this.writes.write(offset, data, true, 'records')
  }

  /** As `write`. */
  async erase(offset: number, length: number, sync: boolean, attempt?: WriteAttempt): Promise<void> {
    this.check(offset, length)
    this.assertWritable()
    if (attempt !== undefined) this.attempts.admit(attempt)
    if (length === 0) return
    await this.eraseRange(offset, length, sync)
  }

  /** One that fails half way has changed the map, too. */
  private async eraseRange(offset: number, length: number, sync: boolean): Promise<void> {
    try {
      await this.writes.erase(offset, length, sync)
    } finally {
      this.afterWrite()
    }
  }

  async flush(): Promise<void> {
    this.assertServing()
    if (this.policy.durability === 'flush') await this.stream.sync()
  }

  allocation(offset: number, length: number): Promise<AllocationRun[]> {
    this.check(offset, length)
    return allocationOf(this.map, offset, length)
  }

  /** Whether any block of the range is mapped. */
  async hasData(offset: number, length: number): Promise<boolean> {
    const runs = await allocationOf(this.map, offset, length)
    return runs.some((run) => run.data)
  }

  /**
   * Changes the size. Shrinking over data is refused with `UNSAFE` unless `discardData`; what is cut off is erased
   * first, so that growing again shows zeros.
   */
  async resize(size: number, discardData: boolean): Promise<void> {
    this.assertWritable()
    const old = this.record.size
    if (size < old) {
      if (!discardData && (await this.hasData(size, old - size))) {
        throw new HitherError(
          'UNSAFE',
          `vDisk ${this.name} has data behind ${size} bytes; shrink the file system first, or discard the data`,
        )
      }
      // It may have been drained meanwhile. Once an erase has begun, that waits for it.
      this.assertServing()
      await this.eraseRange(size, old - size, true)
    }
    await this.checkpointing.run(() => {
      this.assertServing()
      return this.map.grow(Math.ceil(size / VBLOCK_BYTES))
    })
    this.record = await putSize(this.services.catalog, this.guard, size)
  }

  /** A read-only image of now: a checkpoint whose root is kept. */
  async snapshot(name: string, createdAt: number): Promise<SnapshotRecord> {
    this.assertServing()
    const key = keys.snapshot(this.id, name)
    return this.checkpointing.run(async () => {
      const root = await this.checkpointLocked()
      const record: SnapshotRecord = {
        vdisk: this.id,
        name,
        size: this.record.size,
        createdAt,
        root: root.root,
        levels: root.levels,
        mappedBlocks: root.mappedBlocks,
      }
      // Applied after a reclaim that did not know of it, it would keep a root whose slots are gone.
      const sameRoot = await this.roots.condition()
      const result = await this.services.catalog.commit({
        when: [this.ownerCondition(), sameRoot, { key, revision: 0 }],
        put: [{ key, value: encodeRecord(record) }],
      })
      if (!result.ok) {
        const exists = (await this.services.catalog.get(key)) !== undefined
        throw exists
          ? new HitherError('ALREADY_EXISTS', `vDisk ${this.name} already has a snapshot ${name}`)
          : new HitherError('STALE_GENERATION', `another CVM owns vDisk ${this.name} now`)
      }
      return record
    })
  }

  /** Writes dirty map pages and moves the replay position. */
  async checkpoint(): Promise<RootRecord> {
    return this.checkpointing.run(() => this.checkpointLocked())
  }

  /** A checkpoint that has every write in it that began before this call. */
  async checkpointPastWrites(): Promise<RootRecord> {
    await this.writes.passed()
    this.assertServing()
    return this.checkpoint()
  }

  /** Ends service after IO under way, with everything in the catalog, so that the next owner replays nothing. */
  async drain(): Promise<void> {
    const error = new HitherError('NOT_OWNER', `vDisk ${this.name} is moving to another CVM`)
    this.stopped = error
    this.cancelIdle?.()
    await this.writes.drained()
    await this.checkpoint()
    await this.stream.close()
    this.queue.stop(error)
    this.map.close()
  }

  /** Ends service now, without touching the log: another CVM owns the vDisk, or this one is stopping hard. */
  abandon(error: HitherError): void {
    this.stopped ??= error
    this.cancelIdle?.()
    this.queue.stop(error)
  }

  private check(offset: number, length: number): void {
    this.assertServing()
    const refusal = diskRangeError(this.record, offset, length)
    if (refusal !== undefined) throw refusal
  }

  /** Throws when this CVM may not answer for the vDisk now: another may serve it. */
  assertCanAnswer(): void {
    this.assertServing()
    this.services.assertCanServe()
  }

  private assertServing(): void {
    if (this.stopped !== undefined) throw this.stopped
  }

  private assertWritable(): void {
    if (this.record.readOnly === true) {
      throw new HitherError('BAD_ARGUMENT', `vDisk ${this.name} is read-only`)
    }
    this.services.assertCanServe()
  }

  private ownerCondition() {
    return { key: keys.owner(this.id), revision: this.guard.revision }
  }

  private async checkpointLocked(): Promise<RootRecord> {
    this.checkpointAt = this.queue.logged
    return writeCheckpoint({
      map: this.map,
      queue: this.queue,
      roots: this.roots,
      syncLog: () => (this.policy.durability === 'flush' ? this.stream.sync() : Promise.resolve()),
    })
  }

  /** Applies an acknowledged frame: in the order of the log, synchronously. */
  private apply(batch: Batch, placement: Placement): void {
    const starts = batch.starts.values
    const counts = batch.counts.values
    const egroups = batch.egroups.values
    const refs = batch.refs.values
    const base = placement.baseSlot << 3
    for (let i = 0; i < batch.starts.length; i++) {
      const egroup = egroups[i]!
      if (egroup === HOLE) this.map.setRun(starts[i]!, counts[i]!, 0, 0)
      else if (egroup === OWN_EGROUP) {
        cacheOverwritten(this.overwritten, batch, placement, starts[i]!, counts[i]!, refs[i]!)
        this.map.setRun(starts[i]!, counts[i]!, placement.egroup, refs[i]! + base)
      } else this.map.setRun(starts[i]!, counts[i]!, egroup, refs[i]!)
    }
    const his = batch.fingerprintHi.values
    const los = batch.fingerprintLo.values
    const { candidates, onFingerprints } = this.services
    for (let i = 0; i < batch.fingerprintHi.length; i++) candidates.touch(his[i]!)
    for (let i = 0; i < batch.fingerprintHi.length; i++) {
      const hi = his[i]!
      const lo = los[i]!
      const ref = batch.fingerprintRefs.values[i]! + base
      candidates.insert(hi, lo, placement.egroup, ref)
      onFingerprints(hi, lo, placement.egroup, ref)
    }
  }

  private afterWrite(): void {
    if (this.stopped !== undefined) return
    const logged = this.queue.logged - this.checkpointAt
    if (logged >= CHECKPOINT_LOG_BYTES || this.map.dirtyLeaves >= CHECKPOINT_DIRTY_LEAVES)
      void this.startCheckpoint()
    else this.armIdleCheckpoint()
  }

  private armIdleCheckpoint(): void {
    if (this.cancelIdle !== undefined) return
    const loggedAtArm = this.queue.logged
    this.cancelIdle = this.services.clock.after(IDLE_CHECKPOINT_MS, () => {
      this.cancelIdle = undefined
      if (this.stopped !== undefined) return
      // Still busy: the size trigger takes care; look again later.
      if (this.queue.logged !== loggedAtArm) this.armIdleCheckpoint()
      else if (this.map.dirtyLeaves > 0 && !this.waitsForCheckpoint) {
        this.waitsForCheckpoint = true
        void this.services.idleCheckpoints.run(() => this.checkpointIdle(loggedAtArm))
      }
    })
  }

  /** `undefined`: none now. */
  private checkpointIdle(logged: number): Promise<void> | undefined {
    this.waitsForCheckpoint = false
    if (this.stopped !== undefined || this.map.dirtyLeaves === 0) return undefined
    if (this.queue.logged === logged) return this.startCheckpoint()
    // It was written to while it waited for its turn.
    this.armIdleCheckpoint()
    return undefined
  }

  /** The one that runs, or a new one. Does not reject. */
  private startCheckpoint(): Promise<void> {
    this.checkpointRunning ??= this.checkpoint()
      .then(
        () => {},
        (error: unknown) => {
          if (this.stopped === undefined) this.services.onError(`checkpoint of vDisk ${this.name}`, error)
        },
      )
      .finally(() => {
        this.checkpointRunning = undefined
      })
    return this.checkpointRunning
  }

  private throttle(): Promise<void> | undefined {
    return this.map.dirtyLeaves < CHECKPOINT_DIRTY_LEAVES * 2 ? undefined : this.startCheckpoint()
  }

  private depose(error: unknown): void {
    if (this.stopped !== undefined) return
    this.abandon(
      new HitherError('NOT_OWNER', `this CVM does not serve vDisk ${this.name} any more`, { cause: error }),
    )
    this.services.onDeposed(this.id, error)
  }
}
