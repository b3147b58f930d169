/**
 * Keeps clean map pages of all vDisks of a CVM within one budget. Dirty and pinned pages are not in here: they cannot
 * go. A page is touched when it is looked up, but only when it is not the page touched last: runs of neighbouring
 * blocks cost one touch.
 */
import { LRUCache } from 'lru-cache'
import type { Page } from './page-map.ts'
import { PAGE_BYTES } from './page-map.ts'

export class PageCache {
  private readonly pages: LRUCache<Page, true>
  private lastTouched: Page | undefined

  /** @param budgetBytes for the pages' words. */
  constructor(budgetBytes: number) {
    this.pages = new LRUCache<Page, true>({
      max: Math.max(16, Math.floor(budgetBytes / PAGE_BYTES)),
      noDisposeOnSet: true,
      dispose: (_, page, reason) => {
        page.cached = false
        page.map.cachedPages--
        if (reason === 'evict') page.map.evict(page)
      },
    })
  }

  /** Memory of the pages' words. */
  get sizeBytes(): number {
    return this.pages.size * PAGE_BYTES
  }

  add(page: Page): void {
    if (page.cached) return
    page.cached = true
    page.map.cachedPages++
    this.pages.set(page, true)
  }

  remove(page: Page): void {
    if (page.cached) this.pages.delete(page)
  }

  touch(page: Page): void {
    if (page === this.lastTouched) return
    this.lastTouched = page
    this.pages.get(page)
  }
}
