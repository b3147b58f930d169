/**
 * The map of one vDisk: block → (egroup, slot, sub-block). A radix tree of pages with a fan-out of 256.
 *
 *   level 0   leaf: 256 entries, one per 4 KiB block of one vBlock
 *   level n   inner: 256 references to pages of level n−1
 *
 * An entry is two u32: egroup, then slot << 3 | sub-block (0 for pages). Egroup 0 is a hole, or a page that was never
 * written. A page is 2 KiB; on disk it is a slice of kind "page" in the vDisk's own stream.
 *
 * In memory every level is a table by index, so that a lookup of a resident leaf touches no inner page. Lookups and
 * changes are synchronous and need the leaf resident: `leaf()` tells, `load()` brings it in. Leaf pages change when
 * records are applied; inner pages change only in a checkpoint, which writes bottom-up (checkpoint.ts). Clean pages
 * are evicted by `PageCache`; dirty and pinned ones stay.
 */
import { HitherError, invariant } from '../base/errors.ts'
import { BLOCKS_PER_VBLOCK, type EgroupId } from '../base/units.ts'
import type { PageRef } from '../cluster/records.ts'
import type { PageCache } from './page-cache.ts'

/** Entries of a page, at every level. */
export const PAGE_ENTRIES = 256
export const PAGE_WORDS = PAGE_ENTRIES * 2
export const PAGE_BYTES = PAGE_WORDS * 4
/** Levels that 64 TiB need: 2^26 vBlocks. */
export const LEVELS_MAX = 4

export interface Page {
  readonly level: number
  readonly index: number
  readonly words: Uint32Array
  readonly map: PageMap
  dirty: boolean
  /** Users that need it to stay: writes under way, a checkpoint that has not told the parent yet. */
  pins: number
  /** In the page cache now. */
  cached: boolean
  /** A checkpoint has taken it, and not read it yet: its words are copied before they change. */
  isTaken: boolean
  /** That copy. */
  taken: Uint32Array | undefined
}

/** Reads a page of this map from the stream. */
export type PageLoader = (ref: PageRef) => Promise<Uint32Array>

export class PageMap {
  /** Pages of this map that are in the page cache now; it counts them. */
  cachedPages = 0
  private readonly tables: Array<Map<number, Page>> = []
  private readonly loading = new Map<string, Promise<Page>>()
  private readonly dirtyPages: Array<Set<Page>> = []
  private readonly loader: PageLoader
  private readonly cache: PageCache
  private levelCount: number
  private rootRef: PageRef | null
  private mapped: number

  constructor(
    root: PageRef | null,
    levels: number,
    mappedBlocks: number,
    loader: PageLoader,
    cache: PageCache,
  ) {
    this.rootRef = root
    this.levelCount = levels
    this.mapped = mappedBlocks
    this.loader = loader
    this.cache = cache
    for (let level = 0; level <= LEVELS_MAX; level++) {
      this.tables.push(new Map())
      this.dirtyPages.push(new Set())
    }
  }

  get levels(): number {
    return this.levelCount
  }

  get root(): PageRef | null {
    return this.rootRef
  }

  /** Blocks that are not holes. */
  get mappedBlocks(): number {
    return this.mapped
  }

  /** Leaf pages that changed since the last checkpoint. */
  get dirtyLeaves(): number {
    return this.dirtyPages[0]!.size
  }

  /**
   * Memory of the pages that have to stay, and so are not in the page cache: changed since the last checkpoint, being stored, or
   * under a write. Bytes.
   */
  get heldBytes(): number {
    let pages = 0
    for (const table of this.tables) pages += table.size
    return (pages - this.cachedPages) * PAGE_BYTES
  }

  /** The leaf of `vblock` when it is in memory. */
  leaf(vblock: number): Page | undefined {
    return this.tables[0]!.get(vblock)
  }

  /** Brings the leaf in. An unwritten one is made up of holes. */
  load(vblock: number): Page | Promise<Page> {
    const page = this.tables[0]!.get(vblock)
    if (page !== undefined) return page
    return this.loadPage(0, vblock)
  }

  /**
   * Brings in every leaf of blocks `start` … `end`−1 and pins each; `undefined` when that needed no wait. When it
   * rejects, none is pinned.
   */
  pin(start: number, end: number): Promise<void> | undefined {
    const first = Math.floor(start / BLOCKS_PER_VBLOCK)
    const last = Math.floor((end - 1) / BLOCKS_PER_VBLOCK)
    for (let vblock = first; vblock <= last; vblock++) {
      if (!this.tables[0]!.has(vblock)) return this.pinSlowly(first, last)
    }
    for (let vblock = first; vblock <= last; vblock++) this.tables[0]!.get(vblock)!.pins++
    return undefined
  }

  unpin(start: number, end: number): void {
    const first = Math.floor(start / BLOCKS_PER_VBLOCK)
    const last = Math.floor((end - 1) / BLOCKS_PER_VBLOCK)
    for (let vblock = first; vblock <= last; vblock++) this.release(this.tables[0]!.get(vblock)!)
  }

  /** Blocks start … start+count−1 read from `ref` on in `egroup`; leaves must be resident. Egroup 0: a hole. */
  setRun(start: number, count: number, egroup: EgroupId, ref: number): void {
    let page: Page | undefined
    let vblock = -1
    for (let i = 0; i < count; i++) {
      const block = start + i
      const of = Math.floor(block / BLOCKS_PER_VBLOCK)
      if (of !== vblock) {
        vblock = of
        page = this.tables[0]!.get(of)
        invariant(page !== undefined, 'the leaf is resident when a record is applied')
        this.markDirty(page)
      }
      const at = (block % BLOCKS_PER_VBLOCK) * 2
      const words = page!.words
      if (words[at] === 0) {
        if (egroup !== 0) this.mapped++
      } else if (egroup === 0) {
        this.mapped--
      }
      words[at] = egroup
      words[at + 1] = egroup === 0 ? 0 : ref + i
    }
  }

  /**
   * First vBlock in `from` … `end`−1 that may hold data, or `end`. Skips whole subtrees that were never written, so
   * that a walk over 64 TiB costs what is allocated, not what is addressed.
   */
  async nextAllocated(from: number, end: number): Promise<number> {
    let vblock = from
    while (vblock < end) {
      if (this.tables[0]!.has(vblock)) return vblock
      const skip = await this.emptySpan(vblock)
      if (skip === 0) return vblock
      // Leaves that are in memory but not in the tree yet may lie within the span.
      const next = Math.min(end, vblock + skip)
      const resident = this.firstResident(vblock, next)
      if (resident < next) return resident
      vblock = next
    }
    return end
  }

  /** Adds levels until the tree can address `vblocks`. */
  async grow(vblocks: number): Promise<void> {
    while (PAGE_ENTRIES ** this.levelCount < vblocks) {
      if (this.levelCount === LEVELS_MAX) throw new HitherError('OUT_OF_RANGE', 'a vDisk has at most 64 TiB')
      // The old root becomes entry 0 of the new one. With nothing written yet there is nothing to link.
      if (this.rootRef !== null || this.tables[this.levelCount]!.size > 0) {
        const oldRoot = await this.loadPage(this.levelCount, 0)
        oldRoot.pins++
        const page = this.adopt(this.levelCount + 1, 0, new Uint32Array(PAGE_WORDS))
        this.markDirty(page)
        page.words[0] = this.rootRef?.egroup ?? 0
        page.words[1] = (this.rootRef?.slot ?? 0) << 3
        this.release(oldRoot)
        this.rootRef = null
      }
      this.levelCount++
    }
  }

  /** Drops every page; only for a map that is not used any more. */
  close(): void {
    for (const table of this.tables) {
      for (const page of table.values()) this.cache.remove(page)
      table.clear()
    }
    for (const set of this.dirtyPages) set.clear()
  }

  // For the checkpoint.

  /** The dirty pages of a level, which are clean from now on. `readTaken` tells what is in each of them now. */
  takeDirty(level: number): Page[] {
    const pages = [...this.dirtyPages[level]!]
    this.dirtyPages[level]!.clear()
    for (const page of pages) {
      page.dirty = false
      page.isTaken = true
      page.pins++
    }
    return pages
  }

  /** The bytes of a page as it was when it was taken, once; to be used in the same turn. */
  readTaken(page: Page): Uint8Array {
    const words = page.taken ?? page.words
    page.taken = undefined
    page.isTaken = false
    return new Uint8Array(words.buffer, words.byteOffset, PAGE_BYTES)
  }

  /** The checkpoint could not write it: it is dirty again. */
  giveBack(page: Page): void {
    page.taken = undefined
    page.isTaken = false
    this.markDirty(page)
    this.release(page)
  }

  /** The page is written and its parent knows; it may be evicted. */
  release(page: Page): void {
    page.pins--
    if (page.pins === 0 && !page.dirty) this.cache.add(page)
  }

  /**
   * Tells the parent of page (level, index), or the root, where the page is stored now; `null`: it is all holes. `undefined`:
   * done; else wait for the promise.
   */
  link(level: number, index: number, ref: PageRef | null): Promise<void> | undefined {
    if (level === this.levelCount) {
      this.rootRef = ref
      return undefined
    }
    const parentIndex = Math.floor(index / PAGE_ENTRIES)
    const parent = this.tables[level + 1]!.get(parentIndex)
    // It may be evicted between its arrival and the next turn.
    if (parent === undefined) {
      return this.loadPage(level + 1, parentIndex).then(() => this.link(level, index, ref))
    }
    const at = (index % PAGE_ENTRIES) * 2
    this.markDirty(parent)
    parent.words[at] = ref?.egroup ?? 0
    parent.words[at + 1] = (ref?.slot ?? 0) << 3
    return undefined
  }

  /** Called by the cache when the page has to go. A pinned one stays, and is cached again when it is released. */
  evict(page: Page): void {
    if (page.pins === 0) this.tables[page.level]!.delete(page.index)
  }

  private async pinSlowly(from: number, last: number): Promise<void> {
    for (let vblock = from; vblock <= last; vblock++) {
      // A page may be evicted between its arrival and this turn: look again until it is there.
      let page = this.tables[0]!.get(vblock)
      while (page === undefined) {
        try {
          await this.loadPage(0, vblock)
        } catch (error) {
          for (let pinned = from; pinned < vblock; pinned++) this.release(this.tables[0]!.get(pinned)!)
          throw error
        }
        page = this.tables[0]!.get(vblock)
      }
      page.pins++
    }
  }

  /** To be called before its words change. */
  private markDirty(page: Page): void {
    if (page.dirty) return
    page.dirty = true
    if (page.isTaken) {
      page.taken = page.words.slice()
      page.isTaken = false
    }
    this.dirtyPages[page.level]!.add(page)
    this.cache.remove(page)
  }

  private loadPage(level: number, index: number): Promise<Page> {
    const key = `${level}/${index}`
    let load = this.loading.get(key)
    if (load === undefined) {
      load = this.fetchPage(level, index).finally(() => this.loading.delete(key))
      this.loading.set(key, load)
    }
    return load
  }

  private async fetchPage(level: number, index: number): Promise<Page> {
    const resident = this.tables[level]!.get(index)
    if (resident !== undefined) return resident
    let egroup: number
    let slot: number
    if (level >= this.levelCount) {
      invariant(index === 0, 'the root is page 0 of its level')
      egroup = this.rootRef?.egroup ?? 0
      slot = this.rootRef?.slot ?? 0
    } else {
      const parentIndex = Math.floor(index / PAGE_ENTRIES)
      const parent = this.tables[level + 1]!.get(parentIndex) ?? (await this.loadPage(level + 1, parentIndex))
      const at = (index % PAGE_ENTRIES) * 2
      egroup = parent.words[at]!
      slot = parent.words[at + 1]! >>> 3
    }
    const words = egroup === 0 ? new Uint32Array(PAGE_WORDS) : await this.loader({ egroup, slot })
    return this.tables[level]!.get(index) ?? this.adopt(level, index, words)
  }

  private adopt(level: number, index: number, words: Uint32Array): Page {
    const page: Page = {
      level,
      index,
      words,
      map: this,
      dirty: false,
      pins: 0,
      cached: false,
      isTaken: false,
      taken: undefined,
    }
    this.tables[level]!.set(index, page)
    this.cache.add(page)
    return page
  }

  /** vBlocks from `vblock` to the end of the largest unwritten subtree around it; 0 when it is written. */
  private async emptySpan(vblock: number): Promise<number> {
    for (let level = this.levelCount; level >= 1; level--) {
      const index = Math.floor(vblock / PAGE_ENTRIES ** level)
      const page = this.tables[level]!.get(index) ?? (await this.loadPage(level, index))
      const child = Math.floor(vblock / PAGE_ENTRIES ** (level - 1))
      if (page.words[(child % PAGE_ENTRIES) * 2] === 0) {
        return (child + 1) * PAGE_ENTRIES ** (level - 1) - vblock
      }
    }
    return 0
  }

  private firstResident(from: number, end: number): number {
    if (end - from <= this.tables[0]!.size) {
      for (let vblock = from; vblock < end; vblock++) if (this.tables[0]!.has(vblock)) return vblock
      return end
    }
    let first = end
    for (const vblock of this.tables[0]!.keys()) if (vblock >= from && vblock < first) first = vblock
    return first
  }
}
