/**
 * Copies that no record lists: a writer dropped this node's copy for being slow, a move or a rebuild was cut short, or
 * the egroup was reclaimed while this node had a partial copy of it. They take space and serve nobody.
 *
 *   the egroup left the directory        its id is never used again, so whatever there is of it here goes at once.
 *   the record does not list this node   a copy is made before it is listed, so one that is seen unlisted is looked at
 *                                        again after a time in which any move has ended, and goes when that is still so.
 * Partial copies are a cache of somebody else's copies: no record ever lists them, and they stay while there is one.
 * What is missed here goes at the next start (cvm/reconcile.ts).
 */
import type { EgroupId } from '../base/units.ts'
import type { CopyInfo } from '../extent-store/types.ts'
import type { CuratorContext } from './context.ts'

/** Longer than it takes to make a copy and to list it. Milliseconds. */
export const UNLISTED_MS = 300_000

export class Unlisted {
  private readonly context: CuratorContext
  /** Egroup → when its copy was first seen unlisted. */
  private seen = new Map<EgroupId, number>()
  private cancel: (() => void) | undefined

  constructor(context: CuratorContext) {
    this.context = context
  }

  /** Drops what there is here of egroups that leave the directory from now on. Returns what ends that. */
  watch(): () => void {
    const { directory, store } = this.context
    const end = directory.onChange((egroup, record) => {
      if (record === undefined && store.info(egroup) !== undefined) void this.drop(egroup)
    })
    return () => {
      end()
      this.cancel?.()
    }
  }

  /** Looks at all copies; comes back by itself as long as one is unlisted. */
  async look(): Promise<void> {
    const { store, platform } = this.context
    const now = platform.clock.now()
    const seen = new Map<EgroupId, number>()
    for (const copy of store.copies()) {
      if (!this.isUnlisted(copy)) continue
      const since = this.seen.get(copy.egroup) ?? now
      if (now - since < UNLISTED_MS) seen.set(copy.egroup, since)
      else await this.dropIfUnlisted(copy)
    }
    this.seen = seen
    this.cancel?.()
    this.cancel = undefined
    if (seen.size === 0) return
    this.cancel = platform.clock.after(Math.min(...seen.values()) + UNLISTED_MS - now + 1, () => {
      this.look().catch((error: unknown) => this.context.onError('dropping unlisted copies', error))
    })
  }

  private isUnlisted({ egroup, kind }: CopyInfo): boolean {
    const { directory, stores } = this.context
    const record = directory.record(egroup)
    if (record === undefined) return true
    return kind === 'full' && !record.copies.some((copy) => copy.node === stores.self)
  }

  /** The cached record may lag: the catalog has the last word. */
  private async dropIfUnlisted(copy: CopyInfo): Promise<void> {
    this.context.proceed()
    await this.context.directory.refresh(copy.egroup)
    if (this.isUnlisted(copy)) await this.drop(copy.egroup)
  }

  private async drop(egroup: EgroupId): Promise<void> {
    try {
      await this.context.store.dropCopy(egroup)
    } catch {
      // Its device has failed; then the copy is gone anyway.
    }
  }
}
