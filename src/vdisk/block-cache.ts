/**
 * The unified cache: decompressed 4 KiB blocks, keyed by where they are stored (egroup, slot << 3 | block of the
 * slice). One block that many vDisks refer to (clones, duplicates) is kept once. A stored slot never changes its
 * bytes, so nothing is ever invalidated: what is not read any more goes as the policy has it, and an entry whose block was
 * overwritten is given the new one (`replace`).
 *
 * Memory. Blocks lie in frames of chunks of 4 MiB, which are allocated as they are first needed. Everything known
 * about a frame is in typed arrays, by its number: 23 to 24 bytes a block, no object, nothing for the garbage
 * collector. Key → frame: a hash table of heads and chains. The budget covers blocks and tables.
 *
 * Policy: S3-FIFO (SOSP '23). New blocks enter a small queue (10 %). At its end a block that was hit goes to the main
 * queue, any other goes and leaves its tag in the ghost table; a block that comes back while its tag is there enters
 * the main queue at once. At the end of the main queue a hit block goes round again, up to three times. So a scan
 * passes through the small queue and leaves the main one alone, and a hit costs one byte written.
 * Two parameters differ from the paper: one hit is enough to be promoted (paper: two), and the ghosts are half as many
 * as the main queue holds (paper: as many). On real traces, hit % at 1 / 5 / 10 % of the footprint:
 *
 *                     OLTP                P3                  P6                  VM disk
 *   two-pool LRU      43.4  60.1  66.8    11.1  22.0  29.2    11.8  28.1  46.3     9.8  14.3  16.2
 *   S3-FIFO, paper    46.5  62.1  67.8    13.3  28.7  41.6    16.5  36.6  54.7    10.4  11.2  12.8
 *   as here           45.8  61.7  67.7    11.1  26.1  42.1    11.7  35.0  55.7     9.7  13.6  16.3
 *
 * The paper's choice loses a fifth of the hits of a VM's disk, which is what we serve; this one gives little away.
 */
import { sameBytes } from '../base/bytes.ts'
import { invariant } from '../base/errors.ts'
import { BLOCK_BYTES } from '../base/units.ts'

const CHUNK_FRAMES_BITS = 10
const CHUNK_FRAMES = 1 << CHUNK_FRAMES_BITS
/** Tables, per frame: key 8, head 4, chain 4, queue link 4, hits 1, ghost 2; rounded up. */
const ENTRY_BYTES = 24
const SMALL_SHARE = 0.1
const GHOST_SHARE = 0.5
const GHOST_WAYS = 8
const HITS_MAX = 3
/** Beside the hits of a frame: its block took another's place, and had no hit since. */
const REPLACED = 4
const TWO_32 = 0x1_0000_0000

/** No frame: the end of a chain or of a queue. */
const NONE = 0xffff_ffff

/** First in, first out, linked through an array that all queues share. */
class FrameQueue {
  readonly #next: Uint32Array
  #first = NONE
  #last = NONE
  length = 0

  constructor(next: Uint32Array) {
    this.#next = next
  }

  push(frame: number): void {
    this.#next[frame] = NONE
    if (this.#last === NONE) this.#first = frame
    else this.#next[this.#last] = frame
    this.#last = frame
    this.length++
  }

  /** The queue must not be empty. */
  pop(): number {
    const frame = this.#first
    this.#first = this.#next[frame]!
    if (this.#first === NONE) this.#last = NONE
    this.length--
    return frame
  }
}

/** Tags of blocks that went from the small queue, in sets of 8; the newest of a set pushes its oldest out. */
class GhostTable {
  readonly #tags: Uint32Array
  readonly #sets: number

  constructor(entries: number) {
    this.#sets = Math.max(1, Math.round(entries / GHOST_WAYS))
    this.#tags = new Uint32Array(this.#sets * GHOST_WAYS)
  }

  add(hash: number): void {
    const first = this.#setOf(hash)
    const tags = this.#tags
    for (let at = first + GHOST_WAYS - 1; at > first; at--) tags[at] = tags[at - 1]!
    tags[first] = hash
  }

  /** Whether the tag is there; it is taken out. */
  take(hash: number): boolean {
    const first = this.#setOf(hash)
    const end = first + GHOST_WAYS
    const tags = this.#tags
    for (let at = first; at < end; at++) {
      if (tags[at] !== hash) continue
      for (; at < end - 1; at++) tags[at] = tags[at + 1]!
      tags[at] = 0
      return true
    }
    return false
  }

  #setOf(hash: number): number {
    return Math.floor((hash / TWO_32) * this.#sets) * GHOST_WAYS
  }
}

export class BlockCache {
  /** Most blocks kept. */
  readonly capacity: number
  /** Calls of `copyTo` that found their block, ever. */
  hits = 0
  /** Calls of `copyTo` that did not. */
  misses = 0

  readonly #chunks: Uint8Array[] = []
  /** Key of each frame. */
  readonly #egroups: Uint32Array
  readonly #refs: Uint32Array
  readonly #heads: Uint32Array
  readonly #chains: Uint32Array
  readonly #hitCounts: Uint8Array
  readonly #small: FrameQueue
  readonly #main: FrameQueue
  readonly #ghosts: GhostTable
  readonly #smallTarget: number
  /** Frames that were ever used: 0 … used − 1. */
  #used = 0

  /** @param budgetBytes for blocks and tables together; less than one block's worth switches the cache off. */
  constructor(budgetBytes: number) {
    this.capacity = Math.floor(budgetBytes / (BLOCK_BYTES + ENTRY_BYTES))
    this.#egroups = new Uint32Array(this.capacity)
    this.#refs = new Uint32Array(this.capacity)
    this.#heads = new Uint32Array(Math.max(1, this.capacity)).fill(NONE)
    this.#chains = new Uint32Array(this.capacity)
    this.#hitCounts = new Uint8Array(this.capacity)
    const next = new Uint32Array(this.capacity)
    this.#small = new FrameQueue(next)
    this.#main = new FrameQueue(next)
    this.#smallTarget = Math.max(1, Math.floor(this.capacity * SMALL_SHARE))
    this.#ghosts = new GhostTable((this.capacity - this.#smallTarget) * GHOST_SHARE)
  }

  /** Blocks kept now. */
  get count(): number {
    return this.#used
  }

  /**
   * Copies `length` bytes of a block, from its byte `from`, into `target` at `targetOffset`. `false`, with `target`
   * as before, when the block is not here.
   */
  copyTo(
    egroup: number,
    ref: number,
    target: Uint8Array,
    targetOffset: number,
    from: number,
    length: number,
  ): boolean {
    const frame = this.#find(egroup, ref, hashOf(egroup, ref))
    if (frame === NONE) {
      this.misses++
      return false
    }
    invariant(from >= 0 && length >= 0 && from + length <= BLOCK_BYTES, 'the part lies inside the block')
    this.hits++
    this.#countHit(frame)
    const chunk = this.#chunks[frame >>> CHUNK_FRAMES_BITS]!
    target.set(new Uint8Array(chunk.buffer, offsetOf(frame) + from, length), targetOffset)
    return true
  }

  /** Whether the block is here, and not one that took another's place (`replace`) and had no hit since. Counts as none. */
  isReadHere(egroup: number, ref: number): boolean {
    const frame = this.#find(egroup, ref, hashOf(egroup, ref))
    return frame !== NONE && (this.#hitCounts[frame]! & REPLACED) === 0
  }

  /**
   * Whether the block equals the 4 KiB of `source` at `sourceOffset`; `undefined` when it is not here. Counts for the
   * policy as a hit, not for `hits` and `misses`.
   */
  equals(egroup: number, ref: number, source: Uint8Array, sourceOffset: number): boolean | undefined {
    const frame = this.#find(egroup, ref, hashOf(egroup, ref))
    if (frame === NONE) return undefined
    this.#countHit(frame)
    const chunk = this.#chunks[frame >>> CHUNK_FRAMES_BITS]!
    return sameBytes(chunk, offsetOf(frame), source, sourceOffset, BLOCK_BYTES)
  }

  /** Keeps a copy of the 4 KiB of `source` at `sourceOffset`. Does nothing when the block is here already. */
  insert(egroup: number, ref: number, source: Uint8Array, sourceOffset: number): void {
    invariant(
      egroup > 0 && sourceOffset >= 0 && sourceOffset + BLOCK_BYTES <= source.length,
      'a whole stored block',
    )
    const hash = hashOf(egroup, ref)
    if (this.capacity === 0 || this.#find(egroup, ref, hash) !== NONE) return
    const frame = this.#used < this.capacity ? this.#takeUnused() : this.#evict()
    this.#link(frame, egroup, ref, hash)
    this.#hitCounts[frame] = 0
    if (this.#ghosts.take(hash)) this.#main.push(frame)
    else this.#small.push(frame)
    this.#fill(frame, source, sourceOffset)
  }

  /**
   * The block that was kept as (`egroup`, `ref`) is kept as (`newEgroup`, `newRef`) from now on, with the 4 KiB of `source`
   * at `sourceOffset`: the same entry, with its place in its queue and its hits. Does nothing when it is not here, or the
   * new one is.
   */
  replace(
    egroup: number,
    ref: number,
    newEgroup: number,
    newRef: number,
    source: Uint8Array,
    sourceOffset: number,
  ): void {
    invariant(
      newEgroup > 0 && sourceOffset >= 0 && sourceOffset + BLOCK_BYTES <= source.length,
      'a whole stored block',
    )
    const hash = hashOf(egroup, ref)
    const frame = this.#find(egroup, ref, hash)
    const newHash = hashOf(newEgroup, newRef)
    if (frame === NONE || this.#find(newEgroup, newRef, newHash) !== NONE) return
    this.#unlink(frame, hash)
    this.#link(frame, newEgroup, newRef, newHash)
    this.#hitCounts[frame] = this.#hitCounts[frame]! | REPLACED
    this.#fill(frame, source, sourceOffset)
  }

  #find(egroup: number, ref: number, hash: number): number {
    let frame = this.#heads[this.#headOf(hash)]!
    while (frame !== NONE && (this.#refs[frame] !== ref || this.#egroups[frame] !== egroup)) {
      frame = this.#chains[frame]!
    }
    return frame
  }

  #countHit(frame: number): void {
    const hits = this.#hitCounts[frame]! & ~REPLACED
    this.#hitCounts[frame] = Math.min(HITS_MAX, hits + 1)
  }

  /** A frame that was never used. Throws, and takes none, when there is no memory for its chunk. */
  #takeUnused(): number {
    this.#chunkOf(this.#used)
    return this.#used++
  }

  /** Frees one frame, which is then in no queue and no chain. The cache must be full. */
  #evict(): number {
    for (;;) {
      const fromSmall = this.#small.length >= this.#smallTarget || this.#main.length === 0
      const frame = fromSmall ? this.#small.pop() : this.#main.pop()
      const count = this.#hitCounts[frame]!
      const hits = count & ~REPLACED
      if (hits > 0) {
        this.#hitCounts[frame] = (count & REPLACED) | (fromSmall ? 0 : hits - 1)
        this.#main.push(frame)
        continue
      }
      const hash = hashOf(this.#egroups[frame]!, this.#refs[frame]!)
      this.#unlink(frame, hash)
      if (fromSmall) this.#ghosts.add(hash)
      return frame
    }
  }

  /** Gives a frame, which is in no chain, its key. */
  #link(frame: number, egroup: number, ref: number, hash: number): void {
    this.#egroups[frame] = egroup
    this.#refs[frame] = ref
    const head = this.#headOf(hash)
    this.#chains[frame] = this.#heads[head]!
    this.#heads[head] = frame
  }

  #fill(frame: number, source: Uint8Array, sourceOffset: number): void {
    const block = new Uint8Array(source.buffer, source.byteOffset + sourceOffset, BLOCK_BYTES)
    this.#chunkOf(frame).set(block, offsetOf(frame))
  }

  /** Takes a frame out of its chain. */
  #unlink(frame: number, hash: number): void {
    const chains = this.#chains
    const head = this.#headOf(hash)
    let at = this.#heads[head]!
    if (at === frame) {
      this.#heads[head] = chains[frame]!
      return
    }
    while (chains[at] !== frame) at = chains[at]!
    chains[at] = chains[frame]!
  }

  #headOf(hash: number): number {
    return Math.floor((hash / TWO_32) * this.#heads.length)
  }

  #chunkOf(frame: number): Uint8Array {
    const index = frame >>> CHUNK_FRAMES_BITS
    let chunk = this.#chunks[index]
    if (chunk === undefined) {
      const frames = Math.min(CHUNK_FRAMES, this.capacity - index * CHUNK_FRAMES)
      chunk = new Uint8Array(frames * BLOCK_BYTES)
      this.#chunks[index] = chunk
    }
    return chunk
  }
}

/** Byte offset of a frame in its chunk. */
function offsetOf(frame: number): number {
  return (frame & (CHUNK_FRAMES - 1)) * BLOCK_BYTES
}

/** 1 … 2^32−1, so that 0 can mean "no tag" among the ghosts. */
function hashOf(egroup: number, ref: number): number {
  let hash = Math.imul(egroup, 0x9e37_79b1) ^ Math.imul(ref + 0x7f4a_7c15, 0x85eb_ca6b)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d)
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a_2d39)
  return (hash ^ (hash >>> 15)) >>> 0 || 1
}
