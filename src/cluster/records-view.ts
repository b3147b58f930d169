/**
 * A cached, watched copy of one prefix of the catalog. Reads are synchronous; the copy lags the catalog by the time
 * a watch takes, and every decision that must not be stale is a compare-and-set against `revision`.
 */
import { forgetOldest } from '../base/oldest.ts'
import type { Catalog, CatalogChange } from '../platform/types.ts'
import { decodeRecord, encodeRecord } from './records.ts'

const REMOVALS_KEPT = 4096
const BARRIER = '~barrier'

export interface Versioned<T> {
  readonly value: T
  readonly revision: number
}

/** What a view keeps its records in: a map, or something that takes less memory. */
export interface RecordEntries<T> {
  readonly size: number
  get(key: string): Versioned<T> | undefined
  set(key: string, entry: Versioned<T>): void
  delete(key: string): void
  entries(): IterableIterator<[string, Versioned<T>]>
}

export class RecordsView<T> {
  private readonly entries: RecordEntries<T>
  private readonly listeners = new Set<(key: string, value: T | undefined) => void>()
  /** Latest removals, so that news of an older revision that arrives later cannot bring a record back. */
  private readonly removedAt = new Map<string, number>()
  private readonly barriers = new Set<() => void>()
  private seenRevision = 0
  private stopWatch: () => void = () => {}
  private readonly catalog: Catalog
  private readonly prefix: string

  private constructor(catalog: Catalog, prefix: string, entries: RecordEntries<T>) {
    this.entries = entries
    this.catalog = catalog
    this.prefix = prefix
  }

  /** @param entries empty; the view's own from then on */
  static async open<T>(
    catalog: Catalog,
    prefix: string,
    entries: RecordEntries<T> = new Map(),
  ): Promise<RecordsView<T>> {
    const view = new RecordsView<T>(catalog, prefix, entries)
    view.stopWatch = catalog.watch(prefix, (changes) => view.apply(changes))
    try {
      for (const entry of await catalog.list(prefix)) {
        if (!isBarrier(entry.key)) view.learn(entry.key, decodeRecord<T>(entry.value), entry.revision)
      }
    } catch (error) {
      view.close()
      throw error
    }
    return view
  }

  get(key: string): Versioned<T> | undefined {
    return this.entries.get(key)
  }

  value(key: string): T | undefined {
    return this.entries.get(key)?.value
  }

  /** In no order. */
  all(): IterableIterator<[string, Versioned<T>]> {
    return this.entries.entries()
  }

  get size(): number {
    return this.entries.size
  }

  /** Reads the catalog now, for the case that the cached record turned out to be stale. */
  async refresh(key: string): Promise<Versioned<T> | undefined> {
    const known = this.entries.get(key)
    const entry = await this.catalog.get(key)
    if (entry === undefined) {
      // What the watch has told since the question was asked is newer than the answer, and stays.
      if (known !== undefined) this.forget(key, known.revision)
      return this.entries.get(key)
    }
    this.learn(key, decodeRecord<T>(entry.value), entry.revision)
    return this.entries.get(key)
  }

  /** Takes over what a transaction of ours has just written, before the watch tells. */
  learn(key: string, value: T, revision: number): void {
    const known = this.entries.get(key)
    if (known !== undefined && known.revision >= revision) return
    const removed = this.removedAt.get(key)
    if (removed !== undefined && removed >= revision) return
    this.entries.set(key, { value, revision })
    for (const listener of this.listeners) listener(key, value)
  }

  forget(key: string, revision: number): void {
    this.removedAt.delete(key)
    this.removedAt.set(key, revision)
    forgetOldest(this.removedAt, REMOVALS_KEPT)
    const known = this.entries.get(key)
    if (known === undefined || known.revision > revision) return
    this.entries.delete(key)
    for (const listener of this.listeners) listener(key, undefined)
  }

  /**
   * Resolves when every change that was committed before this call is in the view: commits a key of its own under the
   * prefix and waits until the watch brings it, since a watch tells in order of revision.
   */
  async catchUp(): Promise<void> {
    const key = `${this.prefix}${BARRIER}`
    const { revision } = await this.catalog.commit({ put: [{ key, value: encodeRecord(null) }] })
    while (this.seenRevision < revision) {
      await new Promise<void>((resolve) => this.barriers.add(resolve))
    }
  }

  onChange(listener: (key: string, value: T | undefined) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  close(): void {
    this.stopWatch()
    this.listeners.clear()
  }

  private apply(changes: readonly CatalogChange[]): void {
    for (const change of changes) {
      this.seenRevision = Math.max(this.seenRevision, change.revision)
      if (isBarrier(change.key)) continue
      if (change.value === undefined) this.forget(change.key, change.revision)
      else this.learn(change.key, decodeRecord<T>(change.value), change.revision)
    }
    for (const passed of this.barriers) passed()
    this.barriers.clear()
  }
}

function isBarrier(key: string): boolean {
  return key.endsWith(BARRIER)
}
