/**
 * The sequential streams of one vDisk: up to 64 runs of reads under way at the same time, in typed columns. A read
 * belongs to a stream when it starts where the stream ended; one block before is also right (a guest whose partition
 * is not aligned to 4 KiB shares a block between neighbouring reads), and so is a small gap.
 *
 * A stream that pauses for 2 s, or is the oldest when room is needed, counts as ended in the survival curve; a paused
 * one is revived when it goes on.
 */
import type { BlockIndex } from '../../base/units.ts'
import type { RunSurvival } from './run-survival.ts'

const STREAMS = 64
const PAUSE_MS = 2_000
/** Blocks. */
const OVERLAP = 1
const GAP = 4
/** A window of so many blocks (256 KiB, about what 10 Gb/s carry in 200 µs) does not grow further. */
const WINDOW_GROWN = 64

/** Streams are counted by where they end, in buckets of 8 blocks: most reads go on with none, and find their buckets empty. */
const BUCKET_BLOCKS = 8
const BUCKETS = 1024

const RUNNING = 1
const PAUSED = 2
/** No stream. */
const NONE = 255

/** Index of a stream in the table. */
export type StreamIndex = number & { readonly unit?: 'stream' }

export class StreamTable {
  readonly #survival: RunSurvival
  readonly #state = new Uint8Array(STREAMS)
  /** Of one that was never used: far from every block. */
  readonly #next = new Float64Array(STREAMS).fill(Number.NEGATIVE_INFINITY)
  readonly #endsIn = new Uint8Array(BUCKETS)
  readonly #fetchedTo = new Float64Array(STREAMS)
  readonly #length = new Float64Array(STREAMS)
  readonly #lastSeen = new Float64Array(STREAMS)
  /** The neighbours of each in the order of last use; NONE at the ends. */
  readonly #older = new Uint8Array(STREAMS).fill(NONE)
  readonly #newer = new Uint8Array(STREAMS).fill(NONE)
  readonly #largestRead = new Uint32Array(STREAMS)
  readonly #lastAdvance = new Uint32Array(STREAMS)
  readonly #readsAhead = new Uint8Array(STREAMS)
  #used = 0
  #newest = NONE
  #oldest = NONE
  /** All that are older have paused. */
  #oldestRunning = NONE
  /** Of the last read. */
  #continues = false
  #shrunk = false
  #usedBlocks = 0

  constructor(survival: RunSurvival) {
    this.#survival = survival
  }

  /** The last read went on with a stream. */
  get continues(): boolean {
    return this.#continues
  }

  /** The last read was smaller than its stream's largest: the usual sign of the end of a file. */
  get shrunk(): boolean {
    return this.#shrunk
  }

  /** Blocks of the last read that its stream had asked to prefetch. */
  get usedBlocks(): number {
    return this.#usedBlocks
  }

  /** Puts the read to its stream, or begins one. `late`: a part of it had to wait for a prefetch under way. */
  read(start: BlockIndex, count: number, late: boolean, now: number): StreamIndex {
    this.#pauseUntil(now - PAUSE_MS)
    const found = this.#find(start)
    this.#continues = found !== NONE
    const stream = found === NONE ? this.#begin() : found
    if (found === NONE) this.#first(stream, start, count)
    else this.#append(stream, start, count, late)
    this.#lastSeen[stream] = now
    this.#makeNewest(stream)
    return stream
  }

  length(stream: StreamIndex): number {
    return this.#length[stream]!
  }

  /** Blocks to be ahead of the reader: as much as it took last, times the reads it needs to be ahead not to wait. */
  window(stream: StreamIndex): number {
    return this.#lastAdvance[stream]! * this.#readsAhead[stream]!
  }

  /** First block past the last read for which nothing was asked yet. */
  aheadFrom(stream: StreamIndex): BlockIndex {
    return Math.max(this.#next[stream]!, this.#fetchedTo[stream]!)
  }

  /** First block past the last read. */
  next(stream: StreamIndex): BlockIndex {
    return this.#next[stream]!
  }

  /** Blocks up to `end` were asked for. */
  askedTo(stream: StreamIndex, end: BlockIndex): void {
    this.#fetchedTo[stream] = end
  }

  /** The stream that the read goes on with, the newest of several; or NONE. */
  #find(start: BlockIndex): StreamIndex {
    if (this.#endsIn[bucketOf(start - GAP)] === 0 && this.#endsIn[bucketOf(start + OVERLAP)] === 0)
      return NONE
    const next = this.#next
    let found = NONE
    for (let stream = 0; stream < STREAMS; stream++) {
      const ahead = start - next[stream]!
      if (ahead >= -OVERLAP && ahead <= GAP) {
        if (found === NONE || this.#isNewer(stream, found)) found = stream
      }
    }
    return found
  }

  /** Ties are rare: it is looked up. */
  #isNewer(one: StreamIndex, other: StreamIndex): boolean {
    for (let stream = this.#newest; stream !== other; stream = this.#older[stream]!) {
      if (stream === one) return true
    }
    return false
  }

  #begin(): StreamIndex {
    if (this.#used < STREAMS) return this.#used++
    if (this.#state[this.#oldest] === RUNNING) this.#pause(this.#oldest)
    return this.#oldest
  }

  #makeNewest(stream: StreamIndex): void {
    if (stream !== this.#newest) {
      const older = this.#older[stream]!
      const newer = this.#newer[stream]!
      if (stream === this.#oldestRunning) this.#oldestRunning = newer
      if (older !== NONE) this.#newer[older] = newer
      else if (stream === this.#oldest) this.#oldest = newer
      if (newer !== NONE) this.#older[newer] = older
      this.#older[stream] = this.#newest
      this.#newer[stream] = NONE
      if (this.#newest !== NONE) this.#newer[this.#newest] = stream
      else this.#oldest = stream
      this.#newest = stream
    }
    if (this.#oldestRunning === NONE) this.#oldestRunning = stream
  }

  /** Pauses those that were last seen before `time`. */
  #pauseUntil(time: number): void {
    for (let stream = this.#oldestRunning; stream !== NONE && this.#lastSeen[stream]! < time; ) {
      this.#pause(stream)
      stream = this.#newer[stream]!
      this.#oldestRunning = stream
    }
  }

  #first(stream: StreamIndex, start: BlockIndex, count: number): void {
    this.#state[stream] = RUNNING
    this.#moveEnd(stream, start + count)
    this.#fetchedTo[stream] = start + count
    this.#length[stream] = count
    this.#largestRead[stream] = count
    this.#lastAdvance[stream] = count
    this.#readsAhead[stream] = 1
    this.#shrunk = false
    this.#usedBlocks = 0
    this.#survival.grow(0, count)
  }

  #append(stream: StreamIndex, start: BlockIndex, count: number, late: boolean): void {
    const before = this.#length[stream]!
    if (this.#state[stream] === PAUSED) {
      this.#survival.revive(before)
      this.#state[stream] = RUNNING
    }
    const expected = this.#next[stream]!
    const end = Math.max(expected, start + count)
    const advance = end - expected
    this.#usedBlocks = Math.max(0, Math.min(this.#fetchedTo[stream]!, end) - expected)
    this.#moveEnd(stream, end)
    this.#length[stream] = before + advance
    this.#survival.grow(before, before + advance)
    this.#lastAdvance[stream] = Math.max(1, advance)
    this.#shrunk = count < this.#largestRead[stream]! - OVERLAP
    if (count > this.#largestRead[stream]!) this.#largestRead[stream] = count
    if (late && this.window(stream) < WINDOW_GROWN) this.#readsAhead[stream]! *= 2
  }

  #moveEnd(stream: StreamIndex, end: BlockIndex): void {
    const before = this.#next[stream]!
    if (before !== Number.NEGATIVE_INFINITY) this.#endsIn[bucketOf(before)]!--
    this.#endsIn[bucketOf(end)]!++
    this.#next[stream] = end
  }

  #pause(stream: StreamIndex): void {
    this.#state[stream] = PAUSED
    this.#survival.end(this.#length[stream]!)
  }
}

/** Where a read may begin that goes on with a stream lies in the bucket of its end, or in a neighbour. */
function bucketOf(block: BlockIndex): number {
  return Math.floor(block / BUCKET_BLOCKS) & (BUCKETS - 1)
}
