/**
 * Puts the roots of one owner's checkpoints into the catalog, so that the replay position only moves forward.
 *
 * A commit that was not answered may be applied at any later time. Were it conditional on ownership alone, that of an
 * earlier checkpoint could follow a later one's, and bring back a position whose log the Curator has compacted since.
 * So each is conditional on the root that it replaces as well: one of two goes in, and the later checkpoint is tried
 * again on top of the earlier one. The root that the owner found when it activated is no older owner's to change: its
 * commits need an owner record that is gone.
 */
import { codeOf } from '../base/errors.ts'
import { decodeRecord, encodeRecord, keys, type RootRecord } from '../cluster/records.ts'
import type { Catalog, CatalogEntry } from '../platform/types.ts'
import { assertOwned, deposed, type OwnerGuard, ownerCondition } from '../replication/owner-guard.ts'

export class RootWriter {
  private readonly catalog: Catalog
  private readonly guard: OwnerGuard
  private readonly key: string
  /** Of the root that is in the catalog; `undefined` when that has to be asked. */
  private revision: number | undefined

  constructor(catalog: Catalog, guard: OwnerGuard) {
    this.catalog = catalog
    this.guard = guard
    this.key = keys.root(guard.stream)
  }

  /**
   * Resolves when `record` is in the catalog. One call at a time, each with a later checkpoint than the one before.
   * `STALE_GENERATION` when another CVM owns the vDisk; `TIMEOUT` when the catalog cannot be read either: then the
   * record may be there, now or later, and the next call bears both.
   */
  async put(record: RootRecord): Promise<void> {
    const value = encodeRecord(record)
    for (;;) {
      const revision = this.revision ?? (await this.read()).revision
      this.revision = undefined
      let unheard = false
      try {
        const result = await this.catalog.commit({
          when: [ownerCondition(this.guard), { key: this.key, revision }],
          put: [{ key: this.key, value }],
        })
        if (result.ok) {
          this.revision = result.revision
          return
        }
      } catch (error) {
        if (codeOf(error) !== 'TIMEOUT') throw error
        unheard = true
      }
      const now = await this.read()
      this.revision = now.revision
      if (unheard && isSame(decodeRecord<RootRecord>(now.value), record)) return
      await assertOwned(this.catalog, this.guard)
    }
  }

  /**
   * For `when` of a commit that must not outlive the root that is in the catalog now: the next checkpoint, and so every
   * reclaim, breaks it. One call at a time, and none during `put`.
   */
  async condition(): Promise<{ key: string; revision: number }> {
    this.revision ??= (await this.read()).revision
    return { key: this.key, revision: this.revision }
  }

  private async read(): Promise<CatalogEntry> {
    const entry = await this.catalog.get(this.key)
    if (entry === undefined) throw deposed(this.guard)
    return entry
  }
}

function isSame(a: RootRecord, b: RootRecord): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
