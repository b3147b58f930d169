/**
 * One piece of a write: up to 1 MiB of whole blocks that go into one frame, so that after a crash they are there whole or
 * not at all.
 *
 *   pin      the leaves of the map, so that applying is synchronous
 *   reduce   what is new, what is a duplicate, what is zero (reduce.ts)
 *   pack     large ones only: compressed by several threads
 *   emit     into the open batch of the commit queue; from there it is the log's
 *   end      the frame was acknowledged and is applied, or refused
 *
 * As a rule nothing has to be waited for but the log. So the steps are methods that call each other, not an `async`
 * function: a piece costs one promise, however many steps it has.
 *
 * A piece that no node has room for is tried again after each reclaim that got some, which other writes may have taken.
 * Nothing of the piece is held while it waits: the reclaim waits for pieces under way.
 */
import { codeOf } from '../base/errors.ts'
import { BLOCK_BYTES } from '../base/units.ts'
import type { SpaceUse } from '../extent-store/types.ts'
import type { PackedSlices } from '../platform/types.ts'
import type { Batch, CommitWaiter } from './batch.ts'
import type { CommitQueue } from './commit-queue.ts'
import type { EpochBarrier } from './epoch-barrier.ts'
import type { PageMap } from './page-map.ts'
import type { Reducer, WritePlan } from './reduce.ts'

/** How often one piece may wait for a reclaim. */
const ROOM_TRIES_MAX = 8

export interface PieceDeps {
  readonly map: PageMap
  readonly queue: CommitQueue
  readonly reducer: Reducer
  /** Pieces between the look for duplicates and the map. */
  readonly pieces: EpochBarrier
  /** Gets space back, if there is some; `false`: there is none. */
  readonly makeRoom: () => Promise<boolean>
}

export interface Piece {
  /** Blocks of the vDisk, at most PLAN_BLOCKS_MAX. The caller holds their range. */
  readonly start: number
  readonly end: number
  /** The blocks' bytes, from `dataOffset`; not changed until the piece has ended. */
  readonly data: Uint8Array
  readonly dataOffset: number
  readonly sync: boolean
  readonly use: SpaceUse
}

export class PieceWrite implements CommitWaiter {
  private readonly deps: PieceDeps
  private readonly piece: Piece
  /** Called once; `undefined`: the piece is in the map. */
  private readonly onEnd: (failure: unknown) => void
  private triesLeft = ROOM_TRIES_MAX
  private plan: WritePlan | undefined
  private epoch: 0 | 1 = 0

  constructor(deps: PieceDeps, piece: Piece, onEnd: (failure: unknown) => void) {
    this.deps = deps
    this.piece = piece
    this.onEnd = onEnd
  }

  begin(): void {
    const { start, end } = this.piece
    let pinned: Promise<void> | undefined
    try {
      pinned = this.deps.map.pin(start, end)
    } catch (error) {
      this.onEnd(error)
      return
    }
    if (pinned === undefined) this.reduce()
    else pinned.then(() => this.reduce(), this.onEnd)
  }

  acknowledged(): void {
    this.leave()
    this.onEnd(undefined)
  }

  refused(error: unknown): void {
    this.leave()
    if (codeOf(error) !== 'NO_SPACE' || this.triesLeft === 0) {
      this.onEnd(error)
      return
    }
    this.triesLeft--
    this.deps.makeRoom().then((hasRoom) => (hasRoom ? this.begin() : this.onEnd(error)), this.onEnd)
  }

  private reduce(): void {
    const { reducer, pieces } = this.deps
    const { start, end, data, dataOffset } = this.piece
    const plan = reducer.takePlan()
    this.plan = plan
    this.epoch = pieces.enter()
    let verifying: Promise<void> | undefined
    try {
      verifying = reducer.classify(plan, data, dataOffset, end - start)
    } catch (error) {
      this.refused(error)
      return
    }
    if (verifying === undefined) this.pack(plan)
    else
      verifying.then(
        () => this.pack(plan),
        (error: unknown) => this.refused(error),
      )
  }

  private pack(plan: WritePlan): void {
    const { start, end, data, dataOffset } = this.piece
    const packing = this.deps.reducer.pack(plan, data, dataOffset, end - start)
    if (packing === undefined) this.emit(plan)
    else
      void packing.then((packed) => {
        this.emit(plan, packed)
        packed.release()
      })
  }

  private emit(plan: WritePlan, packed?: PackedSlices): void {
    const { reducer, queue } = this.deps
    const { start, end, data, dataOffset, sync, use } = this.piece
    let batch: Batch
    try {
      batch = queue.batch(plan.uniqueBlocks * BLOCK_BYTES, use)
      reducer.emit(batch, plan, start, data, dataOffset, end - start, packed)
    } catch (error) {
      this.refused(error)
      return
    }
    queue.add(batch, sync, this)
  }

  private leave(): void {
    const { map, pieces, reducer } = this.deps
    pieces.leave(this.epoch)
    reducer.returnPlan(this.plan!)
    this.plan = undefined
    map.unpin(this.piece.start, this.piece.end)
  }
}
