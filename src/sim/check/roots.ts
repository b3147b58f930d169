/**
 * The replay position of a vDisk moves forward only, looked at in the catalog's history: the log before it may have been
 * compacted, and compaction drops map records, so a position that comes back names a log that cannot be replayed.
 */
import {
  decodeRecord,
  type EgroupRecord,
  keys,
  type ReplayPosition,
  type RootRecord,
} from '../../cluster/records.ts'

export class RootCheck {
  private readonly onViolation: (what: string) => void
  private readonly positions = new Map<string, ReplayPosition>()

  constructor(onViolation: (what: string) => void) {
    this.onViolation = onViolation
  }

  /** Whether some of a sealed egroup lies behind the replay position. Not when its vDisk is gone. */
  mayReplay({ stream, order, state, length }: EgroupRecord): boolean {
    const replay = this.positions.get(keys.root(stream))
    if (replay === undefined || state !== 'sealed') return false
    return order > replay.order ? length > 0 : order === replay.order && replay.offset < length
  }

  /** Told of every change of the catalog, in order. */
  changed(key: string, value: Uint8Array | undefined): void {
    if (!key.startsWith('root/')) return
    if (value === undefined) {
      this.positions.delete(key)
      return
    }
    const { replay } = decodeRecord<RootRecord>(value)
    const before = this.positions.get(key)
    if (before !== undefined && isBehind(replay, before)) {
      this.onViolation(
        `root: the replay position of ${key} went from ${show(before)} back to ${show(replay)}`,
      )
    }
    this.positions.set(key, replay)
  }
}

function isBehind(a: ReplayPosition, b: ReplayPosition): boolean {
  return a.order < b.order || (a.order === b.order && a.offset < b.offset)
}

function show({ order, offset }: ReplayPosition): string {
  return `${order}/${offset}`
}
