/** What a run did, counted by kind: operations, faults, and marks (rare code paths that were reached). */
import type { ClusterEvent } from '../api.ts'

export class Tally {
  readonly ops: Record<string, number> = {}
  readonly faults: Record<string, number> = {}
  readonly marks: Record<string, number> = {}

  op(kind: string): void {
    this.ops[kind] = (this.ops[kind] ?? 0) + 1
  }

  fault(kind: string): void {
    this.faults[kind] = (this.faults[kind] ?? 0) + 1
  }

  mark(kind: string, times = 1): void {
    this.marks[kind] = (this.marks[kind] ?? 0) + times
  }

  /** An event of the cluster is a mark, too. */
  event(event: ClusterEvent): void {
    if (event.type === 'error') this.mark(`error ${event.code}`)
    else this.mark(event.type)
    if (event.type === 'takeover' && event.replayedFrames > 0) this.mark('takeover with replay')
    if (event.type === 'curator') {
      if (event.report.compactedEgroups > 0) this.mark('compaction', event.report.compactedEgroups)
      if (event.report.removedEgroups > 0) this.mark('egroups reclaimed', event.report.removedEgroups)
      if (event.report.incomplete !== undefined) this.mark('curator put off')
    }
  }

  add(other: Tally): void {
    for (const group of ['ops', 'faults', 'marks'] as const) {
      for (const [kind, count] of Object.entries(other[group])) {
        this[group][kind] = (this[group][kind] ?? 0) + count
      }
    }
  }

  /** Requests that were answered. */
  get operations(): number {
    return (this.ops.read ?? 0) + (this.ops.write ?? 0) + (this.ops.trim ?? 0)
  }
}
