/**
 * Where the next request of a disk goes, by pattern. Units are cells of 512 bytes; a block has 8.
 *
 *   random, sequential, hot, zipf, unaligned   as their names say
 *   oltp     a database: pages of 8 KiB by zipf; of the writes, half go to a log at the disk's end, small and in order
 *   image    every VM writes the same golden image in the same order and extents of 64 KiB: nearly all of it dedupes
 *   boot     reads from the start on, in extents of 64 KiB, as every clone of a boot storm does at once
 *   trace    a short synthetic trace, over and over: bursts of a desktop, with pauses between
 */
import { exp2, log2 } from '../../base/exact-math.ts'
import type { Random } from '../../platform/types.ts'
import { BLOCK_CELLS } from '../check/contents.ts'

export const PATTERNS = [
  'random',
  'sequential',
  'hot',
  'zipf',
  'unaligned',
  'oltp',
  'image',
  'trace',
] as const

export type Pattern = (typeof PATTERNS)[number] | 'boot'

export type What = 'read' | 'write' | 'trim'

export interface Request {
  readonly what: What
  readonly first: number
  readonly count: number
  /** Waits for so long first, as a share of the disk's think time. */
  readonly pause: number
}

/** Longest request of these patterns: 128 KiB. */
export const CELLS_MAX = 256
const PAGE_CELLS = 16
const EXTENT_CELLS = 128
/** A part of so many of an oltp disk is its log. */
const LOG_PART = 8

/** What, place in 1/64 of the disk, cells beyond it, cells, pause. Made up: logs in, opens a document, saves it twice, idles. */
const TRACE: ReadonlyArray<readonly [What, number, number, number, number]> = [
  ['read', 0, 0, 8, 4],
  ['read', 0, 8, 64, 0],
  ['read', 1, 0, 128, 0],
  ['read', 12, 3, 5, 0],
  ['read', 12, 16, 32, 0.1],
  ['write', 0, 0, 1, 0],
  ['write', 40, 0, 24, 0.5],
  ['write', 40, 24, 24, 0],
  ['write', 40, 48, 7, 0],
  ['write', 0, 1, 1, 0],
  ['read', 40, 0, 56, 1],
  ['read', 20, 0, 16, 0],
  ['write', 20, 2, 9, 0],
  ['write', 63, 0, 8, 0],
  ['write', 63, 8, 8, 0],
  ['write', 63, 0, 8, 0.1],
  ['trim', 40, 0, 55, 2],
  ['write', 41, 0, 64, 0],
  ['write', 0, 0, 1, 0],
  ['read', 41, 0, 64, 3],
]

/** The requests of one disk, all its clients together. */
export class PatternSource {
  private readonly pattern: Pattern
  private readonly readShare: number
  private readonly random: Random
  private position = 0
  private step = 0

  constructor(pattern: Pattern, readShare: number, random: Random) {
    this.pattern = pattern
    this.readShare = readShare
    this.random = random
  }

  /** Within a disk of `cells` cells. */
  next(cells: number): Request {
    if (this.pattern === 'trace') return this.traced(cells)
    const { random } = this
    const what =
      random.below(1000) < this.readShare * 1000 ? 'read' : random.below(12) === 0 ? 'trim' : 'write'
    const [first, count] = this.place(what, cells)
    return { what, first, count: Math.min(count, cells - first), pause: random.below(2000) / 1000 }
  }

  private place(what: What, cells: number): [first: number, count: number] {
    const { random } = this
    const blocks = Math.floor(cells / BLOCK_CELLS)
    const count = BLOCK_CELLS * (random.below(8) === 0 ? 1 + random.below(CELLS_MAX / BLOCK_CELLS) : 1)
    switch (this.pattern) {
      case 'sequential':
        return [this.along(count, cells), count]
      case 'hot':
        return [random.below(Math.min(8, blocks)) * BLOCK_CELLS, count]
      case 'zipf':
        return [this.zipf(blocks) * BLOCK_CELLS, count]
      case 'unaligned':
        return [random.below(cells), 1 + random.below(24)]
      case 'oltp': {
        const logCells = Math.floor(cells / LOG_PART)
        if (what === 'write' && random.below(2) === 0)
          return [cells - logCells + this.along(1, logCells), 1 + random.below(4)]
        return [this.zipf(Math.floor((cells - logCells) / PAGE_CELLS)) * PAGE_CELLS, PAGE_CELLS]
      }
      case 'image':
      case 'boot':
        return [this.along(EXTENT_CELLS, cells), EXTENT_CELLS]
      default:
        return [random.below(blocks) * BLOCK_CELLS, count]
    }
  }

  private traced(cells: number): Request {
    const [what, place, beyond, count, pause] = TRACE[this.step++ % TRACE.length]!
    const first = Math.min(cells - 1, Math.floor((cells * place) / 64) + beyond)
    return { what, first, count: Math.min(count, cells - first), pause }
  }

  /** From start to end, and again. The disk may have become shorter meanwhile. */
  private along(count: number, cells: number): number {
    const first = this.position < cells ? this.position : 0
    this.position = first + count
    return first
  }

  private zipf(places: number): number {
    return Math.floor(exp2((log2(places) * this.random.below(1000)) / 1000) - 1)
  }
}
