/**
 * Read path of an owned vDisk: map → cache → slices (local copy, else the nearest) → decompress → caller's buffer.
 *
 * The lease is checked before and after: an owner that was replaced while it read must not answer. Slices are
 * immutable, so what a lookup found stays right while it is fetched; when reclaim has taken a slot away meanwhile, the
 * block has been overwritten since, and looking it up again finds the new place.
 */
import { codeOf, HitherError } from '../base/errors.ts'
import { BLOCK_BYTES, BLOCKS_PER_VBLOCK } from '../base/units.ts'
import type { FetchedGroup, ReadSources, VDiskServices } from './context.ts'
import type { VDiskCounters } from './counters.ts'
import type { Page, PageMap } from './page-map.ts'
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
    const sources: ReadSources = { remoteBlocks: 0, heldBlocks: 0, fetched: [] }
    await this.resolve(offset, target, start, end, sources)
    const remoteBytes = Math.min(target.length, sources.remoteBlocks * BLOCK_BYTES)
    this.counters.countSource(target.length - remoteBytes, remoteBytes)
    this.services.observer.onRead(this.vdisk, start, end - start, sources)
    this.services.assertCanServe()
  }

  /** Fills `target`, one block, with what the vDisk holds there, for a write that covers the block in part. */
  async fill(block: number, target: Uint8Array): Promise<void> {
    await this.resolve(block * BLOCK_BYTES, target, block, block + 1, {
      remoteBlocks: 0,
      heldBlocks: 0,
      fetched: [],
    })
  }

  /**
   * Brings what lies in blocks `start` … `end`−1 to this node, ahead of need, as far as no copy here holds it. Returns
   * what crossed the wire, and how many blocks of the range were in it.
   */
  async prefetch(start: number, end: number): Promise<{ blocks: number; fetched: FetchedGroup[] }> {
    const wanted = new Map<number, Map<number, number>>()
    for (let block = start; block < end; ) {
      const vblock = Math.floor(block / BLOCKS_PER_VBLOCK)
      const words = (await this.leafOf(vblock)).words
      const stop = Math.min(end, (vblock + 1) * BLOCKS_PER_VBLOCK)
      for (; block < stop; block++) {
        const at = (block % BLOCKS_PER_VBLOCK) * 2
        const egroup = words[at]!
        if (egroup === 0) continue
        let slots = wanted.get(egroup)
        if (slots === undefined) {
          slots = new Map()
          wanted.set(egroup, slots)
        }
        const slot = words[at + 1]! >>> 3
        slots.set(slot, (slots.get(slot) ?? 0) + 1)
      }
    }
    let blocks = 0
    const fetched: FetchedGroup[] = []
    for (const [egroup, blocksOf] of wanted) {
      const slots = this.services.observer.lacking(egroup, [...blocksOf.keys()])
      if (slots.length === 0) continue
      const { slices, remote } = await this.services.reader.read(egroup, slots)
      const brought = remote.map((i) => slices[i]!)
      for (const slice of brought) {
        blocks += blocksOf.get(slice.slot)!
        cacheSlice(this.services.cache, egroup, slice.slot, decodeSlice(slice), slice.rawBytes)
      }
      if (brought.length > 0) fetched.push({ egroup, slices: brought })
    }
    return { blocks, fetched }
  }

  private async resolve(
    offset: number,
    target: Uint8Array,
    start: number,
    end: number,
    sources: ReadSources,
  ): Promise<void> {
    for (let lookup = 1; ; lookup++) {
      const misses = await this.copyCached(offset, target, start, end)
      if (misses === undefined) return
      try {
        await this.fetch(misses, offset, target, sources)
        return
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

  private async leafOf(vblock: number): Promise<Page> {
    let page = this.map.leaf(vblock)
    while (page === undefined) {
      await this.map.load(vblock)
      page = this.map.leaf(vblock)
    }
    return page
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
      const page = this.map.leaf(vblock) ?? (await this.leafOf(vblock))
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

  private async fetch(
    misses: Misses,
    offset: number,
    target: Uint8Array,
    sources: ReadSources,
  ): Promise<void> {
    const { observer, reader } = this.services
    const work = [...misses].map(async ([egroup, bySlot]) => {
      observer.onTouch(egroup)
      const { slices, remote } = await reader.read(egroup, [...bySlot.keys()])
      if (remote.length > 0) sources.fetched.push({ egroup, slices: remote.map((i) => slices[i]!) })
      let blocks = 0
      let remoteBlocks = 0
      for (const places of bySlot.values()) blocks += places.length
      for (const i of remote) remoteBlocks += bySlot.get(slices[i]!.slot)!.length
      sources.remoteBlocks += remoteBlocks
      if (observer.isPartial(egroup)) sources.heldBlocks += blocks - remoteBlocks
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
