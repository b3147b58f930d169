/**
 * Brings ranges of one vDisk over the wire before they are read, and remembers what is on its way and what has come
 * but was not read yet: locality's books are about exactly that.
 *
 * A read that needs a slot which is on its way waits for that fetch, and does not start another. Slots of one egroup
 * are fetched together, in pieces. A piece that fails is nobody's error: its reader fetches for itself.
 */
import { Bitset } from '../base/bitset.ts'
import { forgetOldest } from '../base/oldest.ts'
import { BLOCKS_PER_VBLOCK, type EgroupId, type SlotIndex } from '../base/units.ts'
import { KIND_DATA, type StoredSlice } from '../extent-store/types.ts'
import type { VDiskServices } from './context.ts'
import type { PageMap } from './page-map.ts'
import { cacheSlice, decodeSlice } from './reduce.ts'

/** Slots of one fetch: at most 2 MiB on the wire, so that one answer never holds up guest IO for long. */
const SLOTS_AT_ONCE = 64
/** Egroups whose unread prefetched blocks are remembered; the oldest is forgotten first. */
const UNREAD_EGROUPS_MAX = 256

/** What one fetch brings, by slot. Empty when it failed. */
type Fetch = Promise<ReadonlyMap<SlotIndex, StoredSlice>>

/** Stores slices in this node's partial copy; settles when that is done or given up. Never rejects. */
export type KeepSlices = (egroup: EgroupId, slices: readonly StoredSlice[]) => Promise<void>

export class Prefetcher {
  private readonly map: PageMap
  private readonly services: VDiskServices
  private readonly underWay = new Map<EgroupId, Map<SlotIndex, Fetch>>()
  /** Map references that were prefetched and not read since, by egroup. */
  private readonly unread = new Map<EgroupId, Bitset>()

  constructor(map: PageMap, services: VDiskServices) {
    this.map = map
    this.services = services
  }

  /**
   * Fetches what no copy on this node holds of the blocks `start` … `start + count − 1`, into the cache and to `keep`.
   * Returns the number of those blocks that were fetched.
   */
  async fetch(start: number, count: number, keep: KeepSlices): Promise<number> {
    const wanted = await this.slotsOf(start, start + count)
    let blocks = 0
    for (const [egroup, bySlot] of wanted) {
      const coming = this.underWay.get(egroup)
      const slots = this.services.observer
        .lacking(egroup, [...bySlot.keys()])
        .filter((slot) => !coming?.has(slot))
      for (let at = 0; at < slots.length; at += SLOTS_AT_ONCE) {
        this.services.assertCanServe()
        blocks += await this.fetchPiece(egroup, slots.slice(at, at + SLOTS_AT_ONCE), bySlot, keep)
      }
    }
    return blocks
  }

  /** Those of `slots` that a fetch under way brings, waited for; `undefined` when there is none. */
  arriving(egroup: EgroupId, slots: Iterable<SlotIndex>): Fetch | undefined {
    const fetches = this.underWay.get(egroup)
    if (fetches === undefined) return undefined
    const found = new Set<Fetch>()
    for (const slot of slots) {
      const fetch = fetches.get(slot)
      if (fetch !== undefined) found.add(fetch)
    }
    if (found.size === 0) return undefined
    return Promise.all(found).then((maps) => new Map(maps.flatMap((slices) => [...slices])))
  }

  /** Some prefetched block was not read yet: only then is `takeUnread` worth its call. */
  get hasUnread(): boolean {
    return this.unread.size > 0
  }

  /** Whether the block was prefetched and is read now for the first time. */
  takeUnread(egroup: EgroupId, ref: number): boolean {
    const refs = this.unread.get(egroup)
    if (refs === undefined || !refs.delete(ref)) return false
    if (refs.count === 0) this.unread.delete(egroup)
    return true
  }

  private async fetchPiece(
    egroup: EgroupId,
    slots: readonly SlotIndex[],
    bySlot: ReadonlyMap<SlotIndex, readonly number[]>,
    keep: KeepSlices,
  ): Promise<number> {
    const read = this.services.reader.read(egroup, slots)
    const fetch: Fetch = read.then(
      ({ slices }) => new Map(slices.map((slice) => [slice.slot, slice])),
      () => new Map(),
    )
    this.register(egroup, slots, fetch)
    try {
      const { slices, remote } = await read
      const fetched = remote.map((i) => slices[i]!)
      let blocks = 0
      for (const slice of fetched) {
        const refs = bySlot.get(slice.slot)!
        for (const ref of refs) this.noteUnread(egroup, ref)
        blocks += refs.length
        if (slice.kind === KIND_DATA) {
          cacheSlice(this.services.cache, egroup, slice.slot, decodeSlice(slice), slice.rawBytes)
        }
      }
      if (fetched.length > 0) await keep(egroup, fetched)
      return blocks
    } catch {
      return 0
    } finally {
      this.unregister(egroup, slots, fetch)
    }
  }

  /** Slots that blocks of the range lie in, by egroup, and the map references into each. */
  private async slotsOf(start: number, end: number): Promise<Map<EgroupId, Map<SlotIndex, number[]>>> {
    const wanted = new Map<EgroupId, Map<SlotIndex, number[]>>()
    for (let block = start; block < end; ) {
      const vblock = Math.floor(block / BLOCKS_PER_VBLOCK)
      let page = this.map.leaf(vblock)
      while (page === undefined) {
        await this.map.load(vblock)
        page = this.map.leaf(vblock)
      }
      const stop = Math.min(end, (vblock + 1) * BLOCKS_PER_VBLOCK)
      for (; block < stop; block++) {
        const at = (block % BLOCKS_PER_VBLOCK) * 2
        const egroup = page.words[at]!
        if (egroup === 0) continue
        const ref = page.words[at + 1]!
        let bySlot = wanted.get(egroup)
        if (bySlot === undefined) {
          bySlot = new Map()
          wanted.set(egroup, bySlot)
        }
        const refs = bySlot.get(ref >>> 3)
        if (refs === undefined) bySlot.set(ref >>> 3, [ref])
        else refs.push(ref)
      }
    }
    return wanted
  }

  private noteUnread(egroup: EgroupId, ref: number): void {
    let refs = this.unread.get(egroup)
    if (refs === undefined) {
      refs = new Bitset()
      this.unread.set(egroup, refs)
      forgetOldest(this.unread, UNREAD_EGROUPS_MAX)
    }
    refs.set(ref)
  }

  private register(egroup: EgroupId, slots: readonly SlotIndex[], fetch: Fetch): void {
    let fetches = this.underWay.get(egroup)
    if (fetches === undefined) {
      fetches = new Map()
      this.underWay.set(egroup, fetches)
    }
    for (const slot of slots) fetches.set(slot, fetch)
  }

  private unregister(egroup: EgroupId, slots: readonly SlotIndex[], fetch: Fetch): void {
    const fetches = this.underWay.get(egroup)
    if (fetches === undefined) return
    for (const slot of slots) if (fetches.get(slot) === fetch) fetches.delete(slot)
    if (fetches.size === 0) this.underWay.delete(egroup)
  }
}
