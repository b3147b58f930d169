/**
 * Read path of an owned vDisk: map → cache → slices (local copy, else the nearest) → decompress → caller's buffer.
 *
 * The lease is checked before and after: an owner that was replaced while it read must not answer. Slices are
 * immutable, so what a lookup found stays right while it is fetched; when reclaim has taken a slot away meanwhile, the
 * block has been overwritten since, and looking it up again finds the new place.
 */
import { codeOf, HitherError } from '../base/errors.ts'
import { BLOCK_BYTES, BLOCKS_PER_VBLOCK } from '../base/units.ts'
import type { VDiskServices } from './context.ts'
import type { VDiskCounters } from './counters.ts'
import type { PageMap } from './page-map.ts'
import { cacheSlice, decodeSlice } from './reduce.ts'

/** Lookups of one read before a slot that nobody holds counts as lost. */
const LOOKUPS_MAX = 4

interface Miss {
  readonly block: number
  readonly ref: number
}

/** Misses by egroup, then by slot. */
type Misses = Map<number, Map<number, Miss[]>>

export class ReadPath {
  private readonly vdisk: number
  private readonly map: PageMap
  private readonly services: VDiskServices
  private readonly counters: VDiskCounters

  constructor(vdisk: number, map: PageMap, services: VDiskServices, counters: VDiskCounters) {
    this.vdisk = vdisk
    this.map = map
    this.services = services
    this.counters = counters
  }

  /** Fills `target` from byte `offset`; the range lies inside the vDisk. */
  async readInto(offset: number, target: Uint8Array): Promise<void> {
    this.services.assertCanServe()
    const start = Math.floor(offset / BLOCK_BYTES)
    const end = Math.ceil((offset + target.length) / BLOCK_BYTES)
    const remoteBlocks = await this.resolve(offset, target, start, end)
    const remoteBytes = Math.min(target.length, remoteBlocks * BLOCK_BYTES)
    this.counters.countSource(target.length - remoteBytes, remoteBytes)
    this.services.observer.onRead(this.vdisk, start, end - start, remoteBlocks)
    this.services.assertCanServe()
  }

  /** Fills `target`, one block, with what the vDisk holds there, for a write that covers the block in part. */
  async fill(block: number, target: Uint8Array): Promise<void> {
    await this.resolve(block * BLOCK_BYTES, target, block, block + 1)
  }

  /** Returns the number of blocks that came from another node. */
  private async resolve(offset: number, target: Uint8Array, start: number, end: number): Promise<number> {
    for (let lookup = 1; ; lookup++) {
      const misses = await this.copyCached(offset, target, start, end)
      if (misses === undefined) return 0
      try {
        return await this.fetch(misses, offset, target)
      } catch (error) {
        if (codeOf(error) !== 'SLOT_MISSING') throw error
        if (lookup === LOOKUPS_MAX) {
          throw new HitherError('CHECKSUM_MISMATCH', `a block of vDisk ${this.vdisk} is in no copy`, {
            cause: error,
          })
        }
      }
    }
  }

  /** Copies holes and cached blocks; returns what is left to fetch. */
  private async copyCached(
    offset: number,
    target: Uint8Array,
    start: number,
    end: number,
  ): Promise<Misses | undefined> {
    let misses: Misses | undefined
    let block = start
    while (block < end) {
      const vblock = Math.floor(block / BLOCKS_PER_VBLOCK)
      let page = this.map.leaf(vblock)
      while (page === undefined) {
        await this.map.load(vblock)
        page = this.map.leaf(vblock)
      }
      this.services.pages.touch(page)
      const words = page.words
      const stop = Math.min(end, (vblock + 1) * BLOCKS_PER_VBLOCK)
      for (; block < stop; block++) {
        const at = (block % BLOCKS_PER_VBLOCK) * 2
        const egroup = words[at]!
        const ref = words[at + 1]!
        const from = Math.max(offset, block * BLOCK_BYTES)
        const length = Math.min(offset + target.length, (block + 1) * BLOCK_BYTES) - from
        if (egroup === 0) {
          target.fill(0, from - offset, from - offset + length)
        } else if (
          !this.services.cache.copyTo(egroup, ref, target, from - offset, from - block * BLOCK_BYTES, length)
        ) {
          misses ??= new Map()
          addMiss(misses, egroup, ref, block)
        }
      }
    }
    return misses
  }

  /** Returns the number of blocks that came from another node. */
  private async fetch(misses: Misses, offset: number, target: Uint8Array): Promise<number> {
    let remoteBlocks = 0
    const work = [...misses].map(async ([egroup, bySlot]) => {
      this.services.observer.onTouch(egroup)
      const { slices, remote } = await this.services.reader.read(egroup, [...bySlot.keys()])
      if (remote.length > 0) {
        this.services.observer.onFetched(
          egroup,
          remote.map((i) => slices[i]!),
        )
        for (const i of remote) remoteBlocks += bySlot.get(slices[i]!.slot)!.length
      }
      for (const slice of slices) {
        const raw = decodeSlice(slice)
        for (const { block, ref } of bySlot.get(slice.slot)!) {
          const at = (ref & 7) * BLOCK_BYTES
          if (at + BLOCK_BYTES > slice.rawBytes) {
            throw new HitherError('CHECKSUM_MISMATCH', `slot ${slice.slot} of egroup ${egroup} is too short`)
          }
          const from = Math.max(offset, block * BLOCK_BYTES)
          const to = Math.min(offset + target.length, (block + 1) * BLOCK_BYTES)
          const source = at + from - block * BLOCK_BYTES
          target.set(raw.subarray(source, source + to - from), from - offset)
        }
        cacheSlice(this.services.cache, egroup, slice.slot, raw, slice.rawBytes)
      }
    })
    const results = await Promise.allSettled(work)
    for (const result of results) if (result.status === 'rejected') throw result.reason
    return remoteBlocks
  }
}

function addMiss(misses: Misses, egroup: number, ref: number, block: number): void {
  let bySlot = misses.get(egroup)
  if (bySlot === undefined) {
    bySlot = new Map()
    misses.set(egroup, bySlot)
  }
  const slot = ref >>> 3
  const list = bySlot.get(slot)
  if (list === undefined) bySlot.set(slot, [{ block, ref }])
  else list.push({ block, ref })
}
