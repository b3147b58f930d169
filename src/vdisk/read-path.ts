/**
 * Read path of an owned vDisk: map → cache → slices (local copy, else the nearest) → decompress → caller's buffer.
 *
 * The lease is checked before waiting and before answering: an owner that was replaced while it read must not answer. Slices are
 * immutable, so what a lookup found stays right while it is fetched; when reclaim has taken a slot away meanwhile, the
 * block has been overwritten since, and looking it up again finds the new place.
 */
import { allDone } from '../base/all-done.ts'
import { codeOf, HitherError } from '../base/errors.ts'
import { BLOCK_BYTES, BLOCKS_PER_VBLOCK } from '../base/units.ts'
import type { StoredSlice } from '../extent-store/types.ts'
import type { ReadSources, VDiskServices } from './context.ts'
import type { VDiskCounters } from './counters.ts'
import type { PageMap } from './page-map.ts'
import type { Prefetcher } from './prefetcher.ts'
import { cacheSlice, decodeSlice } from './reduce.ts'

/** Lookups of one read before a slot that nobody holds counts as lost. */
const LOOKUPS_MAX = 4

/** A block that is not cached. */
interface Miss {
  readonly block: number
  readonly egroup: number
  readonly ref: number
}

/** What a read lacks of one egroup. Most reads lack one block, and tables would be a twentieth of their time. */
class GroupMisses {
  readonly slots: readonly number[]
  private readonly all: readonly Miss[]
  private readonly bySlot: ReadonlyMap<number, readonly Miss[]> | undefined

  /** @param all at least one, of one egroup */
  constructor(all: readonly Miss[]) {
    this.all = all
    if (all.length === 1) {
      this.slots = [slotOf(all[0]!)]
    } else {
      this.bySlot = grouped(all, slotOf)
      this.slots = [...this.bySlot.keys()]
    }
  }

  /** Those in one slot; `undefined` when there are none. */
  of(slot: number): readonly Miss[] | undefined {
    if (this.bySlot !== undefined) return this.bySlot.get(slot)
    return slot === this.slots[0] ? this.all : undefined
  }
}

/** One read on its way. */
interface ReadRequest {
  readonly offset: number
  readonly target: Uint8Array
  /** Blocks of the vDisk. */
  readonly start: number
  readonly end: number
  readonly sources: ReadSources
  misses: Miss[] | undefined
}

export class ReadPath {
  private readonly vdisk: number
  private readonly map: PageMap
  private readonly services: VDiskServices
  private readonly counters: VDiskCounters
  private readonly prefetcher: Prefetcher

  constructor(
    vdisk: number,
    map: PageMap,
    services: VDiskServices,
    counters: VDiskCounters,
    prefetcher: Prefetcher,
  ) {
    this.vdisk = vdisk
    this.map = map
    this.services = services
    this.counters = counters
    this.prefetcher = prefetcher
  }

  /** Fills `target` from byte `offset`; the range lies inside the vDisk. `undefined`: it was all cached, and is done. */
  readInto(offset: number, target: Uint8Array): Promise<void> | undefined {
    const request = requestOf(offset, target)
    try {
      const at = this.copyCached(request, request.start)
      if (at === request.end && request.misses === undefined) {
        this.answer(request)
        return undefined
      }
      this.services.assertCanServe()
      // As a rule all that is left to do is to fetch.
      return at < request.end ? this.resolve(request, at, true, 1) : this.finish(request, true, 1)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** Fills `target`, one block, with what the vDisk holds there, for a write that covers the block in part. */
  async fill(block: number, target: Uint8Array): Promise<void> {
    const request = requestOf(block * BLOCK_BYTES, target)
    await this.resolve(request, this.copyCached(request, block), false, 1)
  }

  /** The whole read is there: count it, and make sure that it may be answered. */
  private answer({ target, start, end, sources }: ReadRequest): void {
    const waitedBlocks = sources.remoteBlocks + sources.lateBlocks
    const remoteBytes = Math.min(target.length, waitedBlocks * BLOCK_BYTES)
    this.counters.countSource(target.length - remoteBytes, remoteBytes)
    this.services.observer.onRead(this.vdisk, start, end - start, sources)
    this.services.assertCanServe()
    this.counters.countRead(target.length)
  }

  /**
   * @param at blocks before were looked up
   * @param forGuest the read is to be answered then
   * @param lookup how often its blocks have been looked up
   */
  private async resolve(request: ReadRequest, at: number, forGuest: boolean, lookup: number): Promise<void> {
    let next = at
    while (next < request.end) {
      await this.map.load(Math.floor(next / BLOCKS_PER_VBLOCK))
      next = this.copyCached(request, next)
    }
    return this.finish(request, forGuest, lookup)
  }

  /** All blocks were looked up: fetches what is missing, and answers. */
  private finish(request: ReadRequest, forGuest: boolean, lookup: number): Promise<void> {
    const { misses, offset, target, sources } = request
    const fetched = misses === undefined ? Promise.resolve() : this.fetch(misses, offset, target, sources)
    return fetched.then(
      () => {
        if (forGuest) this.answer(request)
      },
      (error: unknown) => this.lookUpAgain(request, forGuest, error, lookup),
    )
  }

  /** After a fetch that failed because reclaim was faster. */
  private async lookUpAgain(
    request: ReadRequest,
    forGuest: boolean,
    error: unknown,
    lookup: number,
  ): Promise<void> {
    if (codeOf(error) !== 'SLOT_MISSING') throw error
    if (lookup === LOOKUPS_MAX) {
      throw new HitherError('CHECKSUM_MISMATCH', `a block of vDisk ${this.vdisk} is in no copy`, {
        cause: error,
      })
    }
    request.misses = undefined
    return this.resolve(request, this.copyCached(request, request.start), forGuest, lookup + 1)
  }

  /**
   * Copies holes and cached blocks from `from` on, and notes what is left to fetch. Returns the end, or the first block
   * whose page of the map has to be loaded.
   */
  private copyCached(request: ReadRequest, from: number): number {
    const { offset, target, end, sources } = request
    let block = from
    while (block < end) {
      const vblock = Math.floor(block / BLOCKS_PER_VBLOCK)
      const page = this.map.leaf(vblock)
      if (page === undefined) return block
      this.services.pages.touch(page)
      const words = page.words
      const stop = Math.min(end, (vblock + 1) * BLOCKS_PER_VBLOCK)
      for (; block < stop; block++) {
        const at = (block % BLOCKS_PER_VBLOCK) * 2
        const egroup = words[at]!
        const ref = words[at + 1]!
        const first = Math.max(offset, block * BLOCK_BYTES)
        const length = Math.min(offset + target.length, (block + 1) * BLOCK_BYTES) - first
        if (egroup === 0) {
          target.fill(0, first - offset, first - offset + length)
        } else if (
          !this.services.cache.copyTo(
            egroup,
            ref,
            target,
            first - offset,
            first - block * BLOCK_BYTES,
            length,
          )
        ) {
          const miss = { block, egroup, ref }
          if (request.misses === undefined) request.misses = [miss]
          else request.misses.push(miss)
        } else if (this.prefetcher.hasUnread && this.prefetcher.takeUnread(egroup, ref)) {
          sources.heldBlocks++
        }
      }
    }
    return end
  }

  /** Settles when nothing of it is under way any more. */
  private fetch(
    misses: readonly Miss[],
    offset: number,
    target: Uint8Array,
    sources: ReadSources,
  ): Promise<void> {
    if (misses.length === 1) return this.fetchGroup(misses[0]!.egroup, misses, offset, target, sources)
    const groups: Promise<void>[] = []
    for (const [egroup, own] of grouped(misses, egroupOf)) {
      groups.push(this.fetchGroup(egroup, own, offset, target, sources))
    }
    return groups.length === 1 ? groups[0]! : allDone(groups)
  }

  private fetchGroup(
    egroup: number,
    all: readonly Miss[],
    offset: number,
    target: Uint8Array,
    sources: ReadSources,
  ): Promise<void> {
    this.services.observer.onTouch(egroup)
    const misses = new GroupMisses(all)
    const { slots } = misses
    const arriving = this.prefetcher.arriving(egroup, slots)
    if (arriving === undefined) return this.fetchSlots(egroup, slots, misses, offset, target, sources)
    return arriving.then((late) => {
      for (const [slot, slice] of late) {
        const own = misses.of(slot)
        if (own === undefined) continue
        sources.heldBlocks += own.length
        sources.lateBlocks += own.length
        this.deliver(egroup, slice, own, offset, target)
      }
      const left = slots.filter((slot) => !late.has(slot))
      if (left.length > 0) return this.fetchSlots(egroup, left, misses, offset, target, sources)
    })
  }

  private fetchSlots(
    egroup: number,
    slots: readonly number[],
    misses: GroupMisses,
    offset: number,
    target: Uint8Array,
    sources: ReadSources,
  ): Promise<void> {
    const { observer, reader } = this.services
    const isPartial = observer.isPartial(egroup)
    return reader.read(egroup, slots).then(({ slices, remote }) => {
      let blocks = 0
      for (const slice of slices) {
        const own = misses.of(slice.slot)!
        blocks += own.length
        this.deliver(egroup, slice, own, offset, target)
      }
      let remoteBlocks = 0
      for (const i of remote) remoteBlocks += misses.of(slices[i]!.slot)!.length
      if (remote.length > 0) sources.fetched.push({ egroup, slices: remote.map((i) => slices[i]!) })
      sources.remoteBlocks += remoteBlocks
      if (isPartial) sources.heldBlocks += blocks - remoteBlocks
    })
  }

  /** Copies blocks of a slice to where the read wants them, and all of it into the cache. */
  private deliver(
    egroup: number,
    slice: StoredSlice,
    misses: readonly Miss[],
    offset: number,
    target: Uint8Array,
  ): void {
    const raw = decodeSlice(slice)
    for (const { block, ref } of misses) {
      const at = (ref & 7) * BLOCK_BYTES
      if (at + BLOCK_BYTES > slice.rawBytes) {
        throw new HitherError('CHECKSUM_MISMATCH', `slot ${slice.slot} of egroup ${egroup} is too short`)
      }
      const from = Math.max(offset, block * BLOCK_BYTES)
      const to = Math.min(offset + target.length, (block + 1) * BLOCK_BYTES)
      const source = at + from - block * BLOCK_BYTES
      target.set(raw.subarray(source, source + to - from), from - offset)
      if (this.prefetcher.hasUnread) this.prefetcher.takeUnread(egroup, ref)
    }
    cacheSlice(this.services.cache, egroup, slice.slot, raw, slice.rawBytes)
  }
}

function requestOf(offset: number, target: Uint8Array): ReadRequest {
  return {
    offset,
    target,
    start: Math.floor(offset / BLOCK_BYTES),
    end: Math.ceil((offset + target.length) / BLOCK_BYTES),
    sources: { remoteBlocks: 0, heldBlocks: 0, lateBlocks: 0, fetched: [] },
    misses: undefined,
  }
}

function egroupOf({ egroup }: Miss): number {
  return egroup
}

function slotOf({ ref }: Miss): number {
  return ref >>> 3
}

/** In the order in which the keys come. */
function grouped(misses: readonly Miss[], keyOf: (miss: Miss) => number): Map<number, Miss[]> {
  const groups = new Map<number, Miss[]>()
  for (const miss of misses) {
    const key = keyOf(miss)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [miss])
    else group.push(miss)
  }
  return groups
}
