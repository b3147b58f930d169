/**
 * Group commit of one vDisk: all that is waiting when the stream is free becomes one frame.
 *
 * Writers add slices and records to an open batch (synchronously), then wait. One frame is under way at a time;
 * meanwhile the next batch fills. When a frame is acknowledged its records are applied to the map in order, and then its
 * writers hear. A large batch that waits is sent before that, in the same turn: who writes much finds the device busy
 * while the map is changed.
 *
 * What is refused differently when space is short is never in one frame: there is an open batch for each `SpaceUse`.
 * Their order in the log does not matter: writes of the same blocks, and trims, wait for each other (write-path.ts).
 *
 * A frame that could not be placed (`NO_SPACE`, `NO_REPLICAS`) fails its own writers only: nothing of it is applied,
 * and the directory has sealed the egroup before it. Any other error leaves the end of the log unknown, or says that
 * another CVM owns the vDisk: the queue stops for good (`onFatal`), and recovery decides.
 */
import { codeOf, HitherError } from '../base/errors.ts'
import type { ReplayPosition } from '../cluster/records.ts'
import type { SpaceUse } from '../extent-store/types.ts'
import type { Clock } from '../platform/types.ts'
import type { Placement, StreamWriter } from '../replication/stream-writer.ts'
import type { Batch, BatchPool, CommitWaiter } from './batch.ts'
import { Gathering, type Waiters } from './gathering.ts'

export interface CommitDeps {
  readonly batches: BatchPool
  readonly clock: Clock
  readonly stream: StreamWriter
  /** Every frame is durable when acknowledged. */
  readonly syncEachFrame: boolean
  /** Applies an acknowledged batch to the map and the indexes; must not throw. */
  readonly apply: (batch: Batch, placement: Placement) => void
  readonly onFatal: (error: unknown) => void
  /** Reads of the vDisk so far. */
  readonly reads: () => number
}

/** What became of a frame. */
type Outcome =
  | { readonly batch: Batch; readonly placement: Placement }
  | { readonly batch: Batch; readonly error: unknown }

export class CommitQueue implements Waiters {
  private readonly deps: CommitDeps
  /** The one that waits longest first. */
  private readonly open = new Map<SpaceUse, Batch>()
  private readonly full: Batch[] = []
  private pumping = false
  private stopped: unknown
  private appliedTo: ReplayPosition
  private loggedBytes = 0
  private readonly gathering: Gathering

  /** @param position place behind the last frame that is in the map. */
  constructor(deps: CommitDeps, position: ReplayPosition) {
    this.deps = deps
    this.appliedTo = position
    this.gathering = new Gathering(deps.clock, deps.reads)
  }

  /** Place behind the last frame whose records are in the map. */
  get applied(): ReplayPosition {
    return this.appliedTo
  }

  /** Log bytes acknowledged, ever. */
  get logged(): number {
    return this.loggedBytes
  }

  /** The batch that takes the next `rawBytes` of slices. Add to it and call `add` or `commit` in the same turn. */
  batch(rawBytes: number, use: SpaceUse): Batch {
    let open = this.open.get(use)
    if (open !== undefined && !open.builder.hasRoomFor(rawBytes)) {
      this.setAside(open)
      open = undefined
    }
    if (open === undefined) {
      open = this.deps.batches.take(use)
      this.open.set(use, open)
    }
    return open
  }

  /** This batch is full. Those that wait longer go before it, so that nobody waits for as long as others write. */
  private setAside(full: Batch): void {
    for (const [use, batch] of this.open) {
      if (batch !== full && batch.waiters.length === 0) continue
      this.full.push(batch)
      this.open.delete(use)
      if (batch === full) return
    }
  }

  /** `waiter` hears when the batch, with everything added to it, is acknowledged and applied. */
  add(batch: Batch, sync: boolean, waiter: CommitWaiter): void {
    if (this.stopped !== undefined) {
      waiter.refused(this.stopped)
      return
    }
    if (sync) batch.sync = true
    batch.waiters.push(waiter)
    if (!this.pumping) void this.pump()
  }

  /** As `add`, for those who wait for a promise. */
  commit(batch: Batch, sync: boolean): Promise<Placement> {
    return new Promise((resolve, reject) => this.add(batch, sync, { acknowledged: resolve, refused: reject }))
  }

  /** Fails everything that waits, and everything to come. */
  stop(error: unknown): void {
    if (this.stopped !== undefined) return
    this.stopped = error
    for (const batch of [...this.full, ...this.open.values()]) {
      for (const waiter of batch.waiters) waiter.refused(error)
      batch.waiters.length = 0
    }
    this.full.length = 0
    this.open.clear()
  }

  private async pump(): Promise<void> {
    this.pumping = true
    try {
      await this.gathering.wait(this, 0)
      let sent = this.sendNext('any')
      while (sent !== undefined) {
        const outcome = await sent
        // What does not need the writers who are about to hear goes first: the map is changed while it is written.
        sent = 'error' in outcome ? undefined : this.sendNext('large')
        this.settle(outcome)
        if (sent !== undefined) continue
        await this.gathering.wait(this, this.waiting())
        sent = this.sendNext('any')
      }
    } finally {
      this.pumping = false
    }
  }

  /** A large batch is to be written. */
  hasLarge(): boolean {
    if (this.full.length > 0) return true
    for (const open of this.open.values()) if (open.isLarge) return true
    return false
  }

  /** Writers who wait for a frame that is not full yet. */
  waiting(): number {
    let writers = 0
    for (const open of this.open.values()) writers += open.waiters.length
    return writers
  }

  /** The one that waits longest; `large`: if that is one. */
  private take(which: 'large' | 'any'): Batch | undefined {
    const first = this.full.shift()
    if (first !== undefined) return first
    for (const [use, open] of this.open) {
      if (open.waiters.length === 0) continue
      if (which === 'large' && !open.isLarge) return undefined
      this.open.delete(use)
      return open
    }
    return undefined
  }

  private sendNext(which: 'large' | 'any'): Promise<Outcome> | undefined {
    const batch = this.take(which)
    return batch && this.send(batch)
  }

  /** Appends to all copies. Never rejects. */
  private async send(batch: Batch): Promise<Outcome> {
    const { clock, stream, syncEachFrame } = this.deps
    this.gathering.sent(batch.waiters.length)
    const startedAt = clock.now()
    try {
      const placement = await stream.append(batch.builder, batch.sync || syncEachFrame, batch.use)
      this.gathering.took(clock.now() - startedAt)
      return { batch, placement }
    } catch (error) {
      return { batch, error }
    }
  }

  /** Applies a frame and tells its writers, or tells them why there is none. */
  private settle(outcome: Outcome): void {
    const { batch } = outcome
    if ('error' in outcome) {
      const { error } = outcome
      for (const waiter of batch.waiters) waiter.refused(error)
      const code = codeOf(error)
      if (code === 'NO_SPACE' || code === 'NO_REPLICAS') {
        this.deps.batches.giveBack(batch)
        return
      }
      this.stop(new HitherError('NOT_OWNER', 'this CVM had to give the vDisk up', { cause: error }))
      this.deps.onFatal(error)
      // It does not go round: who knows what still reads it.
      return
    }
    if (this.stopped !== undefined) {
      for (const waiter of batch.waiters) waiter.refused(this.stopped)
      return
    }
    const { placement } = outcome
    this.deps.apply(batch, placement)
    this.appliedTo = { order: placement.order, offset: placement.endOffset }
    this.loggedBytes += placement.endOffset - placement.offset
    for (const waiter of batch.waiters) waiter.acknowledged(placement)
    this.deps.batches.giveBack(batch)
  }
}
