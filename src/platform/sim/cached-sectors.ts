/**
 * The bytes of a simulated medium, and what a power loss does to them.
 *
 * The store holds the newest content, sparse, in chunks. Beside it, an undo log holds what the writes since the last
 * sync replaced: one copy of the old bytes for each write, none where nothing had been written. So a write costs two
 * copies, a sync drops the log, and only a power loss looks at single sectors. A write that is durable on its own stays in
 * the log behind older ones that are not: it ends what they could have left in its sectors.
 *
 * A power loss decides on each un-synced write: lost, kept, or torn (each sector on its own). Of the versions of a
 * sector that came through, any may be the last to reach the medium, whatever the order of the writes. A trim is a write
 * of zeros in this, so that a trim that was not synced may come undone.
 *
 * Everything is synchronous: time is the business of sim-device.ts.
 */
import { alignDown, alignUp, KiB } from '../../base/units.ts'
import type { Random } from '../types.ts'
import { ByteQueue } from './byte-queue.ts'

/** Unit of allocation. Small, as the devices of one run are many and mostly empty. */
const CHUNK_BYTES = 64 * KiB

/** What one write replaced, within one chunk. */
interface Undo {
  /** Counts the writes: the pieces of one write share it. */
  readonly write: number
  /** Of the first sector. */
  readonly offset: number
  /** Whole sectors. */
  readonly length: number
  /** `undefined`: zeros. */
  readonly old: Uint8Array | undefined
  /** What it wrote cannot be undone. */
  readonly durable: boolean
}

/** What a power loss knows about a sector while it goes through the log, oldest write first. */
interface Fate {
  /** The content to come through, so far; `undefined`: zeros. */
  survivor: Uint8Array | undefined
  strength: number
  /** Strength of the newest write seen; its content is what the next one replaced, or what is in the store. */
  newest: number
}

/** Strength of a write that is durable: it beats all before it, and any that comes through after it beats it. */
const DURABLE = Number.POSITIVE_INFINITY

export class CachedSectors {
  readonly #size: number
  readonly #sectorSize: number
  readonly #cacheBytes: number
  readonly #chunks = new Map<number, Uint8Array>()
  #log: Undo[] = []
  /** The bytes of the log. */
  readonly #old = new ByteQueue()
  #logBytes = 0
  /** Records that left the log, ever. */
  #settled = 0
  #writes = 0

  /** `size` and `sectorSize` in bytes; `cacheBytes`: un-synced bytes above which the oldest become durable unasked. */
  constructor(size: number, sectorSize: number, cacheBytes: number) {
    this.#size = size
    this.#sectorSize = sectorSize
    this.#cacheBytes = cacheBytes
  }

  /** Bytes of memory that hold contents now, without the undo log. */
  get allocatedBytes(): number {
    return this.#chunks.size * CHUNK_BYTES
  }

  /** Bytes of the writes that a power loss could undo now, and of the durable ones behind them. */
  get unsyncedBytes(): number {
    return this.#logBytes
  }

  read(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const start = (offset + done) % CHUNK_BYTES
      const length = Math.min(CHUNK_BYTES - start, target.length - done)
      const chunk = this.#chunks.get((offset + done - start) / CHUNK_BYTES)
      if (chunk) target.set(chunk.subarray(start, start + length), done)
      else target.fill(0, done, done + length)
      done += length
    }
  }

  /** Writes the parts, `length` bytes in all, one after the other; durable at once, or when a sync hardens it. */
  write(offset: number, parts: readonly Uint8Array[], length: number, durable: boolean): void {
    if (length === 0) return
    if (!durable || this.#log.length > 0) this.#remember(offset, length, durable)
    let position = offset
    for (const part of parts) {
      this.#put(position, part)
      position += part.length
    }
    this.#writeBack()
  }

  /** The sectors wholly inside the range read as zeros. */
  trim(offset: number, length: number): void {
    const start = alignUp(offset, this.#sectorSize)
    const end = alignDown(offset + length, this.#sectorSize)
    if (start >= end) return
    this.#remember(start, end - start, false)
    this.#clear(start, end - start)
    this.#writeBack()
  }

  /** The writes so far, for `harden`. */
  mark(): number {
    return this.#settled + this.#log.length
  }

  /** What was written before the mark is durable. */
  harden(mark: number): void {
    this.#settle(mark - this.#settled)
  }

  /** Of what is not durable, some comes through. Afterwards everything that is there is durable. */
  powerLoss(random: Random): void {
    const fates = this.#fates(random)
    for (const [sector, { survivor, strength, newest }] of fates) {
      if (newest > strength) continue
      const offset = sector * this.#sectorSize
      if (survivor) this.#put(offset, survivor)
      else this.#clear(offset, Math.min(this.#sectorSize, this.#size - offset))
    }
    this.#settle(this.#log.length)
  }

  #fates(random: Random): Map<number, Fate> {
    const fates = new Map<number, Fate>()
    let write = -1
    let draw: () => number = lost
    for (const undo of this.#log) {
      if (undo.write !== write) {
        write = undo.write
        draw = undo.durable ? durable : drawOf(random)
      }
      for (let at = 0; at < undo.length; at += this.#sectorSize) {
        const sector = (undo.offset + at) / this.#sectorSize
        const old = undo.old?.subarray(at, at + this.#sectorSize)
        const fate = fates.get(sector)
        if (!fate) {
          fates.set(sector, { survivor: old, strength: 0, newest: draw() })
          continue
        }
        if (fate.newest > fate.strength) {
          fate.survivor = old
          fate.strength = fate.newest === DURABLE ? 0 : fate.newest
        }
        fate.newest = draw()
      }
    }
    return fates
  }

  /** Logs what the range holds, in whole sectors. */
  #remember(offset: number, length: number, durable: boolean): void {
    const end = Math.min(alignUp(offset + length, this.#sectorSize), this.#size)
    const write = this.#writes++
    for (let position = alignDown(offset, this.#sectorSize); position < end; ) {
      const start = position % CHUNK_BYTES
      const run = Math.min(CHUNK_BYTES - start, end - position)
      const chunk = this.#chunks.get((position - start) / CHUNK_BYTES)
      const old = chunk && this.#old.push(chunk.subarray(start, start + run))
      this.#log.push({ write, offset: position, length: run, old, durable })
      this.#logBytes += run
      position += run
    }
  }

  /** A full cache sends its older half to the medium. */
  #writeBack(): void {
    if (this.#logBytes <= this.#cacheBytes) return
    let bytes = 0
    let count = 0
    while (bytes < this.#logBytes / 2) bytes += this.#log[count++]!.length
    this.#settle(count)
  }

  /** The `oldest` records cannot be undone any more. Durable ones right behind them have nothing to end then. */
  #settle(oldest: number): void {
    if (oldest <= 0) return
    let count = oldest
    while (this.#log[count]?.durable) count++
    for (const undo of this.#log.splice(0, count)) {
      this.#logBytes -= undo.length
      if (undo.old) this.#old.drop()
    }
    this.#settled += count
  }

  #put(offset: number, source: Uint8Array): void {
    for (let done = 0; done < source.length; ) {
      const position = offset + done
      const start = position % CHUNK_BYTES
      const length = Math.min(CHUNK_BYTES - start, source.length - done)
      const index = (position - start) / CHUNK_BYTES
      let chunk = this.#chunks.get(index)
      if (!chunk) {
        chunk = new Uint8Array(CHUNK_BYTES)
        this.#chunks.set(index, chunk)
      }
      chunk.set(length === source.length ? source : source.subarray(done, done + length), start)
      done += length
    }
  }

  #clear(offset: number, length: number): void {
    const end = offset + length
    for (let position = offset; position < end; ) {
      const start = position % CHUNK_BYTES
      const run = Math.min(CHUNK_BYTES - start, end - position)
      const index = (position - start) / CHUNK_BYTES
      if (run === CHUNK_BYTES) this.#chunks.delete(index)
      else this.#chunks.get(index)?.fill(0, start, start + run)
      position += run
    }
  }
}

/**
 * One write's luck, as what gives the strength of each of its sectors: 0 for lost, and of several that came through, the
 * strongest is what the medium holds. A quarter of the writes is lost, a quarter kept, half torn.
 */
function drawOf(random: Random): () => number {
  const luck = random.below(4)
  if (luck === 0) return lost
  if (luck > 1) return () => (random.below(2) === 0 ? 0 : 1 + random.u32())
  const strength = 1 + random.u32()
  return () => strength
}

function lost(): number {
  return 0
}

function durable(): number {
  return DURABLE
}
