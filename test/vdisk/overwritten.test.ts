/**
 * Blocks that are written while their old contents are cached. Guards: the cache gets what was stored, under the key that the
 * map leads to, for exactly the blocks that guests had there; what nobody read does not push out what somebody did.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BLOCK_BYTES, SLICE_BLOCKS_MAX } from '../../src/base/units.ts'
import { KIND_DATA } from '../../src/extent-store/types.ts'
import { Batch, OWN_EGROUP } from '../../src/vdisk/batch.ts'
import { BlockCache } from '../../src/vdisk/block-cache.ts'
import { cacheOverwritten } from '../../src/vdisk/overwritten.ts'
import { PageCache } from '../../src/vdisk/page-cache.ts'
import { PAGE_ENTRIES, PageMap } from '../../src/vdisk/page-map.ts'

const BLOCKS = 2 * PAGE_ENTRIES
const CACHED_BLOCKS = 4_096
const OWN = 7
const PARENT = 3

/** A block that differs from every other, stored as LZ4 or, of noise, raw. */
function blockOf(version: number, noise: boolean): Uint8Array {
  const words = new Uint32Array(BLOCK_BYTES / 4)
  let state = version * 2_654_435_761 + 1
  const end = noise ? words.length : 16
  for (let i = 0; i < end; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    words[i] = state ^ (state >>> 13)
  }
  return new Uint8Array(words.buffer)
}

/** A disk that is written by frames, and read through the cache. */
class Disk {
  cache = new BlockCache(CACHED_BLOCKS * 4_200)
  readonly blocks = new Map<number, Uint8Array>()
  /** Egroups that are part of another vDisk's log. */
  readonly foreign = new Set<number>()
  #versions = 0
  #egroup = 1
  #baseSlot = 0

  readonly map: PageMap

  private constructor(map: PageMap) {
    this.map = map
  }

  static async make(): Promise<Disk> {
    const nothing = () => Promise.reject(new Error('nothing is stored'))
    const map = new PageMap(null, 0, 0, nothing, new PageCache(2 ** 20))
    await map.grow(BLOCKS / PAGE_ENTRIES)
    await map.pin(0, BLOCKS)
    return new Disk(map)
  }

  /** One frame of runs of blocks, a slice each. Returns the blocks that it wrote. */
  write(runs: ReadonlyArray<{ start: number; count: number; noise: boolean }>): number[] {
    const batch = new Batch()
    const written: number[] = []
    for (const { start, count, noise } of runs) {
      const data = Buffer.concat(Array.from({ length: count }, () => blockOf(++this.#versions, noise)))
      const slot = batch.builder.addSlice(data, 0, data.length, KIND_DATA, true)
      batch.addMapped(start, count, OWN_EGROUP, slot << 3)
      for (let i = 0; i < count; i++) {
        this.blocks.set(start + i, data.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES))
        written.push(start + i)
      }
    }
    const placement = { egroup: this.#egroup, baseSlot: this.#baseSlot }
    for (let i = 0; i < batch.starts.length; i++) {
      const start = batch.starts.values[i]!
      const count = batch.counts.values[i]!
      const ref = batch.refs.values[i]!
      const { cache, map } = this
      const streamOf = (egroup: number) => (this.foreign.has(egroup) ? PARENT : OWN)
      cacheOverwritten({ cache, map, vdisk: OWN, streamOf }, batch, placement, start, count, ref)
      this.map.setRun(start, count, placement.egroup, (placement.baseSlot << 3) + ref)
    }
    this.#baseSlot += batch.builder.slotCount
    if (this.#baseSlot > 1_000) {
      this.#egroup++
      this.#baseSlot = 0
    }
    return written
  }

  read(block: number): void {
    const bytes = this.blocks.get(block)
    const { egroup, ref } = this.keyOf(block)
    if (bytes !== undefined) this.cache.insert(egroup, ref, bytes, 0)
  }

  /** What the cache has of a block. */
  cached(block: number): Uint8Array | undefined {
    const { egroup, ref } = this.keyOf(block)
    const target = new Uint8Array(BLOCK_BYTES)
    return egroup !== 0 && this.cache.copyTo(egroup, ref, target, 0, 0, BLOCK_BYTES) ? target : undefined
  }

  keyOf(block: number): { egroup: number; ref: number } {
    const { words } = this.map.leaf(Math.floor(block / PAGE_ENTRIES))!
    const at = (block % PAGE_ENTRIES) * 2
    return { egroup: words[at]!, ref: words[at + 1]! }
  }
}

const run = fc.record({
  start: fc.nat({ max: 60 }),
  count: fc.integer({ min: 1, max: SLICE_BLOCKS_MAX }),
  noise: fc.boolean(),
})
/** Without those that overlap one before: such writes are never in one frame. */
function apart<Run extends { readonly start: number; readonly count: number }>(runs: readonly Run[]): Run[] {
  return runs.filter(({ start, count }, i) =>
    runs.slice(0, i).every((other) => start + count <= other.start || other.start + other.count <= start),
  )
}

const step = fc.oneof(
  fc.record({ write: fc.array(run, { minLength: 1, maxLength: 3 }) }),
  fc.record({ read: fc.nat({ max: 70 }) }),
)

describe('the cache, when blocks are overwritten', () => {
  test('has the new contents of what it had, and of nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const disk = await Disk.make()
        const had = new Set<number>()
        for (const each of steps) {
          if ('write' in each) disk.write(apart(each.write))
          else if (disk.blocks.has(each.read)) {
            disk.read(each.read)
            had.add(each.read)
          }
          for (const [block, bytes] of disk.blocks) {
            const cached = disk.cached(block)
            expect(cached !== undefined).toBe(had.has(block))
            if (cached !== undefined) expect(Buffer.compare(cached, bytes)).toBe(0)
          }
        }
      }),
      { numRuns: 300 },
    )
  })

  test('leaves what is in the log of another disk to those who share it', async () => {
    const disk = await Disk.make()
    const [block] = disk.write([{ start: 5, count: 1, noise: true }])
    disk.read(block!)
    const shared = disk.keyOf(block!)
    disk.foreign.add(shared.egroup)
    disk.write([{ start: 5, count: 1, noise: true }])
    expect(disk.cached(5)).toBeUndefined()
    expect(disk.cache.isReadHere(shared.egroup, shared.ref)).toBe(true)
  })

  test('keeps what others read, however often hot blocks are written', async () => {
    const disk = await Disk.make()
    disk.cache = new BlockCache(100 * (BLOCK_BYTES + 24))
    const runs = Array.from({ length: 90 }, (_, start) => ({ start, count: 1, noise: true }))
    for (const block of disk.write(runs)) disk.read(block)
    for (let round = 0; round < 200; round++) {
      for (let hot = 0; hot < 50; hot++) expect(disk.cached(hot)).toBeDefined()
      disk.write(runs.slice(0, 50))
    }
    const kept = runs.filter(({ start }) => disk.cached(start) !== undefined)
    expect(kept.length).toBe(90)
    expect(disk.cache.count).toBe(90)
  })

  test('has the new contents once for each time that they are read', async () => {
    const disk = await Disk.make()
    const write = () => disk.write([{ start: 5, count: 1, noise: true }])
    write()
    disk.read(5)
    for (const isReadBetween of [true, true, false]) {
      write()
      if (isReadBetween) expect(disk.cached(5)).toEqual(Uint8Array.from(disk.blocks.get(5)!))
    }
    write()
    expect(disk.cached(5)).toBeUndefined()
  })

  test('takes nothing of a bulk write', async () => {
    const disk = await Disk.make()
    const bulk = Array.from({ length: 17 }, (_, i) => ({ start: i * 8, count: 8, noise: true }))
    for (const block of disk.write(bulk)) disk.read(block)
    disk.write(bulk)
    expect(disk.cached(0)).toBeUndefined()
    disk.read(0)
    disk.write(bulk.slice(0, 1))
    expect(disk.cached(0)).toEqual(Uint8Array.from(disk.blocks.get(0)!))
  })
})
