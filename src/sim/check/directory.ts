/**
 * The directory's history: an egroup that is sealed does not open again and keeps its length, and no two egroups of a
 * stream have the same place in its order. Whoever breaks that changed a record against one that he had not seen, or
 * an owner that was deposed; what comes of it may heal by itself, or show only when the log is replayed.
 */
import { decodeRecord, type EgroupRecord } from '../../cluster/records.ts'

export class DirectoryCheck {
  private readonly onViolation: (what: string) => void
  private readonly records = new Map<string, EgroupRecord>()
  /** Stream and order → the key of the egroup that has it. */
  private readonly places = new Map<string, string>()

  constructor(onViolation: (what: string) => void) {
    this.onViolation = onViolation
  }

  /** Told of every change of the catalog, in order. */
  changed(key: string, value: Uint8Array | undefined): void {
    if (!key.startsWith('egroup/')) return
    const before = this.records.get(key)
    if (value === undefined) {
      if (before !== undefined && this.places.get(placeOf(before)) === key)
        this.places.delete(placeOf(before))
      this.records.delete(key)
      return
    }
    // A view of the catalog asks for the newest news by a record of its own, which is empty.
    const record = decodeRecord<EgroupRecord | null>(value)
    if (record === null) return
    this.records.set(key, record)
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
}

function placeOf({ stream, order }: EgroupRecord): string {
  return `${stream}/${order}`
}

function show({ state, length }: EgroupRecord): string {
  return `${state} at ${length} bytes`
}
