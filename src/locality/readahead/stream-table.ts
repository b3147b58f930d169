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

const FREE = 0
const RUNNING = 1
const PAUSED = 2

/** Index of a stream in the table. */
export type StreamIndex = number & { readonly unit?: 'stream' }

export class StreamTable {
  readonly #survival: RunSurvival
  readonly #state = new Uint8Array(STREAMS)
  readonly #next = new Float64Array(STREAMS)
  readonly #fetchedTo = new Float64Array(STREAMS)
  readonly #length = new Float64Array(STREAMS)
  readonly #lastSeen = new Float64Array(STREAMS)
  readonly #order = new Float64Array(STREAMS)
  readonly #largestRead = new Uint32Array(STREAMS)
  readonly #lastAdvance = new Uint32Array(STREAMS)
  readonly #readsAhead = new Uint8Array(STREAMS)
  #clock = 0
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
    const found = this.#find(start, now)
    this.#continues = found !== undefined
    const stream = found ?? this.#begin()
    if (found === undefined) this.#first(stream, start, count)
    else this.#append(stream, start, count, late)
    this.#lastSeen[stream] = now
    this.#order[stream] = ++this.#clock
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

  #find(start: BlockIndex, now: number): StreamIndex | undefined {
    let found: StreamIndex | undefined
    let newest = -1
    for (let stream = 0; stream < STREAMS; stream++) {
      const state = this.#state[stream]
      if (state === FREE) continue
      if (state === RUNNING && now - this.#lastSeen[stream]! > PAUSE_MS) this.#pause(stream)
      const ahead = start - this.#next[stream]!
      if (ahead >= -OVERLAP && ahead <= GAP && this.#order[stream]! > newest) {
        newest = this.#order[stream]!
        found = stream
      }
    }
    return found
  }

  #begin(): StreamIndex {
    let oldest: StreamIndex = 0
    for (let stream = 0; stream < STREAMS; stream++) {
      if (this.#state[stream] === FREE) return stream
      if (this.#order[stream]! < this.#order[oldest]!) oldest = stream
    }
    if (this.#state[oldest] === RUNNING) this.#pause(oldest)
    return oldest
  }

  #first(stream: StreamIndex, start: BlockIndex, count: number): void {
    this.#state[stream] = RUNNING
    this.#next[stream] = start + count
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
    this.#next[stream] = end
    this.#length[stream] = before + advance
    this.#survival.grow(before, before + advance)
    this.#lastAdvance[stream] = Math.max(1, advance)
    this.#shrunk = count < this.#largestRead[stream]! - OVERLAP
    if (count > this.#largestRead[stream]!) this.#largestRead[stream] = count
    if (late && this.window(stream) < WINDOW_GROWN) this.#readsAhead[stream]! *= 2
  }

  #pause(stream: StreamIndex): void {
    this.#state[stream] = PAUSED
    this.#survival.end(this.#length[stream]!)
  }
}
