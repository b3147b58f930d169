/**
 * The directory's history: an egroup that is sealed does not open again and keeps its length, one that was removed does
 * not come back (ids are never used twice), nor is one removed that may have to be replayed, and no two egroups of a
 * stream have the same place in its order. Whoever breaks that changed a record against one that he had not seen, or is
 * an owner that was deposed; what comes of it may heal by itself, or show only when the log is replayed.
 */
import { decodeRecord, type EgroupRecord } from '../../cluster/records.ts'
import type { RootCheck } from './roots.ts'

export class DirectoryCheck {
  private readonly roots: RootCheck
  private readonly onViolation: (what: string) => void
  private readonly records = new Map<string, EgroupRecord>()
  /** Stream and order → the key of the egroup that has it. */
  private readonly places = new Map<string, string>()
  private readonly removed = new Set<string>()

  constructor(roots: RootCheck, onViolation: (what: string) => void) {
    this.roots = roots
    this.onViolation = onViolation
  }

  /** Every record as it is in the catalog at this moment, by its key. */
  get current(): ReadonlyMap<string, EgroupRecord> {
    return this.records
  }

  /** Told of every change of the catalog, in order. */
  changed(key: string, value: Uint8Array | undefined): void {
    if (!key.startsWith('egroup/')) return
    const before = this.records.get(key)
    if (value === undefined) {
      if (before !== undefined) this.remove(key, before)
      return
    }
    // A view of the catalog asks for the newest news by a record of its own, which is empty.
    const record = decodeRecord<EgroupRecord | null>(value)
    if (record === null) return
    this.records.set(key, record)
    if (this.removed.has(key)) this.onViolation(`directory: ${key} was removed, and is there again`)
    if (before?.state === 'sealed' && (record.state !== 'sealed' || record.length !== before.length)) {
      this.onViolation(`directory: ${key} was ${show(before)}, and is ${show(record)} now`)
    }
    const other = this.places.get(placeOf(record))
    if (other !== undefined && other !== key) {
      this.onViolation(
        `directory: ${other} and ${key} of stream ${record.stream} are both number ${record.order}`,
      )
    }
    this.places.set(placeOf(record), key)
  }

  private remove(key: string, record: EgroupRecord): void {
    this.records.delete(key)
    this.removed.add(key)
    if (this.places.get(placeOf(record)) === key) this.places.delete(placeOf(record))
    if (this.roots.mayReplay(record))
      this.onViolation(`directory: ${key} was removed, and may have to be replayed: ${show(record)}`)
  }
}

function placeOf({ stream, order }: EgroupRecord): string {
  return `${stream}/${order}`
}

function show({ state, length }: EgroupRecord): string {
  return `${state} at ${length} bytes`
}
