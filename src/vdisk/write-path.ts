/**
 * Write path of an owned vDisk: bound and order → reduce → batch → append to all copies → apply → answer.
 *
 *   1. Take one of N places (the only back-pressure), and the block range: overlapping writes go one after the other,
 *      so a write that does not cover whole blocks reads the rest first without losing a neighbour's bytes.
 *   2. Up to 1 MiB at a time goes through piece-write.ts: reduced, in one frame, applied.
 *
 * A write of whole blocks that is one piece and meets nobody, as nearly all are, takes no step that could wait before the
 * log: it costs one promise.
 */
import { Semaphore } from '../base/queue.ts'
import { type LockedRange, RangeLock } from '../base/range-lock.ts'
import { BLOCK_BYTES, BLOCKS_PER_VBLOCK } from '../base/units.ts'
import type { SpaceUse } from '../extent-store/types.ts'
import type { CommitQueue } from './commit-queue.ts'
import { EpochBarrier } from './epoch-barrier.ts'
import type { PageMap } from './page-map.ts'
import { type Piece, type PieceDeps, PieceWrite } from './piece-write.ts'
import type { ReadPath } from './read-path.ts'
import { PLAN_BLOCKS_MAX, type Reducer } from './reduce.ts'

/** Writes of one vDisk under way; more wait. */
const IN_FLIGHT_MAX = 256
/** Pieces of one long write that may be under way together: bounds its memory. */
const PIECES_AHEAD_MAX = 4
/** vBlocks that one hole record of a trim may pin. */
const ERASE_VBLOCKS_MAX = 64

export interface WritePathDeps {
  readonly map: PageMap
  readonly queue: CommitQueue
  readonly reducer: Reducer
  readonly reads: ReadPath
  /** Waits when too many leaves are dirty. */
  readonly throttle: () => Promise<void> | undefined
  /** Gets space back, if there is some; `false`: there is none. */
  readonly makeRoom: () => Promise<boolean>
  /** A write of so many bytes is in the map. */
  readonly onWritten: (bytes: number) => void
}

export class WritePath {
  private readonly deps: WritePathDeps
  private readonly places = new Semaphore(IN_FLIGHT_MAX)
  private readonly ranges = new RangeLock()
  private readonly pieces = new EpochBarrier()
  private readonly pieceDeps: PieceDeps

  constructor(deps: WritePathDeps) {
    this.deps = deps
    const { map, queue, reducer, makeRoom } = deps
    this.pieceDeps = { map, queue, reducer, makeRoom, pieces: this.pieces }
  }

  /** Writes `data` at byte `offset`; the range lies inside the vDisk. */
  write(offset: number, data: Uint8Array, sync: boolean, use: SpaceUse = 'data'): Promise<void> {
    const start = Math.floor(offset / BLOCK_BYTES)
    const end = Math.ceil((offset + data.length) / BLOCK_BYTES)
    const isOnePiece = data.length === (end - start) * BLOCK_BYTES && end - start <= PLAN_BLOCKS_MAX
    const range = isOnePiece ? this.tryEnter(start, end) : undefined
    if (range === undefined) return this.writeInSteps(offset, data, start, end, sync, use)
    return new Promise((resolve, reject) => {
      const piece = { start, end, data, dataOffset: 0, sync, use }
      const write = new PieceWrite(this.pieceDeps, piece, (failure) => {
        this.leave(range)
        if (failure !== undefined) {
          reject(failure)
          return
        }
        this.deps.onWritten(data.length)
        resolve()
      })
      write.begin()
    })
  }

  /**
   * The range reads as zeros from here on. Edges that do not cover a block are zeroed, the rest becomes holes. What is
   * appended, an edge too, counts as records: a full cluster can be emptied.
   */
  async erase(offset: number, length: number, sync: boolean): Promise<void> {
    const stop = offset + length
    const start = Math.floor(offset / BLOCK_BYTES)
    const end = Math.ceil(stop / BLOCK_BYTES)
    const range = await this.enter(start, end)
    try {
      const innerStart = Math.ceil(offset / BLOCK_BYTES)
      const innerEnd = Math.floor(stop / BLOCK_BYTES)
      if (innerStart > innerEnd) {
        await this.zeroPart(start, offset, stop, sync)
        return
      }
      if (start < innerStart) await this.zeroPart(start, offset, innerStart * BLOCK_BYTES, sync)
      if (innerStart < innerEnd) await this.eraseBlocks(innerStart, innerEnd, sync)
      if (innerEnd < end) await this.zeroPart(innerEnd, innerEnd * BLOCK_BYTES, stop, sync)
    } finally {
      this.leave(range)
    }
  }

  /** Resolves when no write is under way. */
  drained(): Promise<void> {
    return this.places.drained()
  }

  /**
   * Resolves when every piece that was looked at for duplicates before this call is in the map, or has failed: what it
   * refers to can be found there. Later writes are not held up.
   */
  passed(): Promise<void> {
    return this.pieces.passed()
  }

  /** Takes a place and the range if neither has to be waited for. */
  private tryEnter(start: number, end: number): LockedRange | undefined {
    if (this.deps.throttle() !== undefined || !this.places.tryAcquire()) return undefined
    const range = this.ranges.tryLock(start, end)
    if (range === undefined) this.places.release()
    return range
  }

  private async enter(start: number, end: number): Promise<LockedRange> {
    if (!this.places.tryAcquire()) await this.places.acquire()
    const range = this.ranges.tryLock(start, end) ?? (await this.ranges.lock(start, end))
    const throttled = this.deps.throttle()
    if (throttled !== undefined) await throttled
    return range
  }

  private leave(range: LockedRange): void {
    this.ranges.unlock(range)
    this.places.release()
  }

  private async writeInSteps(
    offset: number,
    data: Uint8Array,
    start: number,
    end: number,
    sync: boolean,
    use: SpaceUse,
  ): Promise<void> {
    const range = await this.enter(start, end)
    try {
      const aligned = data.length === (end - start) * BLOCK_BYTES
      const blocks = aligned ? data : await this.fillEdges(offset, data, start, end)
      await this.writeBlocks(start, end, blocks, sync, use)
    } finally {
      this.leave(range)
    }
    this.deps.onWritten(data.length)
  }

  /** Whole blocks around `data`, with what the vDisk holds now at the edges. The range is locked. */
  private async fillEdges(offset: number, data: Uint8Array, start: number, end: number): Promise<Uint8Array> {
    const blocks = new Uint8Array((end - start) * BLOCK_BYTES)
    const head = offset - start * BLOCK_BYTES
    const tail = head + data.length
    const lastBlock = blocks.length - BLOCK_BYTES
    if (head > 0) await this.deps.reads.fill(start, blocks.subarray(0, BLOCK_BYTES))
    if (tail < blocks.length && (lastBlock > 0 || head === 0)) {
      await this.deps.reads.fill(end - 1, blocks.subarray(lastBlock))
    }
    blocks.set(data, head)
    return blocks
  }

  private async zeroPart(block: number, from: number, to: number, sync: boolean): Promise<void> {
    const bytes = new Uint8Array(BLOCK_BYTES)
    await this.deps.reads.fill(block, bytes)
    bytes.fill(0, from - block * BLOCK_BYTES, to - block * BLOCK_BYTES)
    await this.writeBlocks(block, block + 1, bytes, sync, 'records')
  }

  private async writeBlocks(
    start: number,
    end: number,
    data: Uint8Array,
    sync: boolean,
    use: SpaceUse,
  ): Promise<void> {
    if (end - start <= PLAN_BLOCKS_MAX) return this.writePiece({ start, end, data, dataOffset: 0, sync, use })
    const ahead: Array<Promise<void>> = []
    let failure: unknown
    const track = (piece: Promise<void>) => {
      ahead.push(
        piece.catch((error: unknown) => {
          failure ??= error
        }),
      )
    }
    for (let from = start; from < end && failure === undefined; from += PLAN_BLOCKS_MAX) {
      const to = Math.min(end, from + PLAN_BLOCKS_MAX)
      const dataOffset = (from - start) * BLOCK_BYTES
      track(this.writePiece({ start: from, end: to, data, dataOffset, sync, use }))
      if (ahead.length >= PIECES_AHEAD_MAX) await ahead.shift()
    }
    await Promise.all(ahead)
    if (failure !== undefined) throw failure
  }

  private writePiece(piece: Piece): Promise<void> {
    return new Promise((resolve, reject) => {
      const onEnd = (failure: unknown): void => (failure === undefined ? resolve() : reject(failure))
      new PieceWrite(this.pieceDeps, piece, onEnd).begin()
    })
  }

  /** Holes over what is allocated; what never was written costs nothing. */
  private async eraseBlocks(start: number, end: number, sync: boolean): Promise<void> {
    const { map, queue } = this.deps
    const lastVBlock = Math.ceil(end / BLOCKS_PER_VBLOCK)
    let vblock = Math.floor(start / BLOCKS_PER_VBLOCK)
    for (;;) {
      vblock = await map.nextAllocated(vblock, lastVBlock)
      if (vblock >= lastVBlock) return
      const from = Math.max(start, vblock * BLOCKS_PER_VBLOCK)
      let next = vblock + 1
      while (next < lastVBlock && next - vblock < ERASE_VBLOCKS_MAX) {
        if ((await map.nextAllocated(next, next + 1)) !== next) break
        next++
      }
      const to = Math.min(end, next * BLOCKS_PER_VBLOCK)
      // A disk may have more leaves than may wait for a checkpoint.
      const throttled = this.deps.throttle()
      if (throttled !== undefined) await throttled
      const pinned = map.pin(from, to)
      if (pinned !== undefined) await pinned
      try {
        const batch = queue.batch(0, 'records')
        batch.addHole(from, to - from)
        await queue.commit(batch, sync)
      } finally {
        map.unpin(from, to)
      }
      vblock = next
    }
  }
}
