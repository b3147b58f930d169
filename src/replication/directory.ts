/**
 * The directory: egroup → state, length, generation, copies. Cached whole on every CVM (a watched view of
 * `egroup/…`), read synchronously, changed only by compare-and-set. Changes that the owner of a stream makes are
 * guarded by the revision of `owner/<stream>` as well, so that a deposed owner cannot change anything.
 *
 * A commit may time out: applied, or not, or not yet. `add` and `update` then look, and go on until they know; they
 * reject with `TIMEOUT` only when the catalog cannot be read either. `replace` and `remove` leave that to the caller.
 * The cache is right in all cases, later: the watch tells.
 */
import { codeOf } from '../base/errors.ts'
import type { EgroupId, NodeId, VDiskId } from '../base/units.ts'
import { type EgroupRecord, egroupOfKey, encodeRecord, keys } from '../cluster/records.ts'
import { RecordsView, type Versioned } from '../cluster/records-view.ts'
import type { Catalog } from '../platform/types.ts'
import { EgroupTable } from './egroup-table.ts'
import { assertOwned, type OwnerGuard, ownerCondition } from './owner-guard.ts'

export class Directory {
  private readonly catalog: Catalog
  /** Keeps the table as the catalog is. */
  private readonly view: RecordsView<EgroupRecord>
  private readonly table: EgroupTable
  /** Revisions of `listing/<stream>`, by ownership of the stream; not there: the catalog has to be asked. */
  private readonly listings = new WeakMap<OwnerGuard, number>()

  private constructor(catalog: Catalog, view: RecordsView<EgroupRecord>, table: EgroupTable) {
    this.catalog = catalog
    this.view = view
    this.table = table
  }

  static async open(catalog: Catalog): Promise<Directory> {
    const table = new EgroupTable()
    return new Directory(catalog, await RecordsView.open(catalog, 'egroup/', table), table)
  }

  /** Memory of the table, bytes. */
  get sizeBytes(): number {
    return this.table.sizeBytes
  }

  get(egroup: EgroupId): Versioned<EgroupRecord> | undefined {
    return this.table.of(egroup)
  }

  record(egroup: EgroupId): EgroupRecord | undefined {
    return this.table.of(egroup)?.value
  }

  /** Whose log the egroup is part of. */
  streamOf(egroup: EgroupId): VDiskId | undefined {
    return this.table.streamOf(egroup)
  }

  /** Asks the catalog, for when the cached record turned out to be stale. */
  refresh(egroup: EgroupId): Promise<Versioned<EgroupRecord> | undefined> {
    return this.view.refresh(keys.egroup(egroup))
  }

  get size(): number {
    return this.view.size
  }

  all(): IterableIterator<[EgroupId, Versioned<EgroupRecord>]> {
    return this.table.all()
  }

  /** Resolves when every change that was committed before this call is in the cache. */
  catchUp(): Promise<void> {
    return this.view.catchUp()
  }

  /** The stream's egroups in log order, with every change committed before this call: recovery must not miss one. */
  async ofStream(stream: VDiskId): Promise<Array<{ egroup: EgroupId; entry: Versioned<EgroupRecord> }>> {
    await this.view.catchUp()
    const found: Array<{ egroup: EgroupId; entry: Versioned<EgroupRecord> }> = []
    for (const [egroup, entry] of this.all()) if (entry.value.stream === stream) found.push({ egroup, entry })
    return found.sort((a, b) => a.entry.value.order - b.entry.value.order)
  }

  /**
   * Adds an egroup. `STALE_GENERATION` when the guard does not hold any more.
   *
   * That its id is not there does not tell an attempt made again from one that is late: an egroup that was added and
   * reclaimed would be listed again, without a copy. So each addition changes `listing/<stream>`, and all attempts at it
   * are conditional on its revision: one of them goes in.
   */
  async add(egroup: EgroupId, record: EgroupRecord, guard: OwnerGuard): Promise<void> {
    const key = keys.egroup(egroup)
    const listing = keys.listing(guard.stream)
    for (;;) {
      const revision = this.listings.get(guard) ?? (await this.catalog.get(listing))?.revision ?? 0
      this.listings.delete(guard)
      try {
        const result = await this.catalog.commit({
          when: [ownerCondition(guard), { key: listing, revision }, { key, revision: 0 }],
          put: [
            { key: listing, value: encodeRecord(egroup) },
            { key, value: encodeRecord(record) },
          ],
        })
        if (result.ok) {
          this.listings.set(guard, result.revision)
          this.view.learn(key, record, result.revision)
          return
        }
      } catch (error) {
        if (codeOf(error) !== 'TIMEOUT') throw error
      }
      // Ids are never used twice: what is there is what an attempt without an answer has put there.
      if ((await this.refresh(egroup)) !== undefined) return
      await assertOwned(this.catalog, guard)
    }
  }

  /** Replaces a record that still has `revision`. Returns false when it has changed meanwhile. */
  async replace(
    egroup: EgroupId,
    revision: number,
    record: EgroupRecord,
    guard?: OwnerGuard,
  ): Promise<boolean> {
    const result = await this.catalog.commit({
      when: [{ key: keys.egroup(egroup), revision }, ...(guard === undefined ? [] : [ownerCondition(guard)])],
      put: [{ key: keys.egroup(egroup), value: encodeRecord(record) }],
    })
    if (result.ok) this.view.learn(keys.egroup(egroup), record, result.revision)
    return result.ok
  }

  /**
   * Applies `change` to the current record until it sticks. `change` returns `undefined` to leave it as it is.
   * Returns the record as it is then, or `undefined` when the egroup is gone; when it resolves, no attempt is on its way.
   * `STALE_GENERATION` when the guard is broken. `change` must bear to be applied to its own outcome: a commit that was
   * not heard of may have been followed by somebody else's.
   */
  async update(
    egroup: EgroupId,
    change: (record: EgroupRecord) => EgroupRecord | undefined,
    guard?: OwnerGuard,
  ): Promise<EgroupRecord | undefined> {
    let entry = this.get(egroup) ?? (await this.refresh(egroup))
    /** Revision of the record that an attempt without an answer may still replace. */
    let inDoubt: number | undefined
    for (;;) {
      if (entry === undefined) return undefined
      const changed = change(entry.value)
      if (changed === undefined && entry.revision !== inDoubt) return entry.value
      // Left as it is; but what was sent before may come yet. The same record, put again, moves the revision on.
      const next = changed ?? entry.value
      try {
        if (await this.replace(egroup, entry.revision, next, guard)) return next
      } catch (error) {
        if (codeOf(error) !== 'TIMEOUT') throw error
        inDoubt = entry.revision
      }
      if (guard !== undefined) await assertOwned(this.catalog, guard)
      entry = await this.refresh(egroup)
      if (
        inDoubt !== undefined &&
        entry !== undefined &&
        entry.revision !== inDoubt &&
        isSame(entry.value, next)
      ) {
        return next
      }
    }
  }

  /**
   * Takes a node out of a record, whose copy is lost. `false`: it is not listed, or is the last one, which is never given up.
   * @param isLost looks once more, at the record as it is
   */
  async leave(
    egroup: EgroupId,
    node: NodeId,
    isLost: (record: EgroupRecord) => boolean = () => true,
  ): Promise<boolean> {
    let left = false
    await this.update(egroup, (record) => {
      const copies = record.copies.filter((copy) => copy.node !== node)
      left = copies.length > 0 && copies.length < record.copies.length && isLost(record)
      return left ? { ...record, copies } : undefined
    })
    return left
  }

  /** Takes an egroup out of the directory, if it still has `revision`. Its copies are garbage from then on. */
  async remove(egroup: EgroupId, revision: number): Promise<boolean> {
    const key = keys.egroup(egroup)
    const result = await this.catalog.commit({ when: [{ key, revision }], remove: [key] })
    if (result.ok) this.view.forget(key, result.revision)
    return result.ok
  }

  onChange(listener: (egroup: EgroupId, record: EgroupRecord | undefined) => void): () => void {
    return this.view.onChange((key, value) => listener(egroupOfKey(key), value))
  }

  close(): void {
    this.view.close()
  }
}

function isSame(a: EgroupRecord, b: EgroupRecord): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
