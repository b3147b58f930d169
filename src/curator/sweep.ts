/**
 * The sweep of a reclaim (reclaim.ts): takes the slots that it found dead away.
 *
 *   no live slot     the egroup leaves the directory, then its copies go. A crash in between leaves copies that are not
 *                    listed: their nodes drop them when they start.
 *   few live bytes   each copy is rewritten without the dead slots, in place, under the same name. Copies that miss it
 *                    have more slots than they need, and are compacted with a later scan.
 *   else             left alone: a rewrite of 4 MiB has to free enough to be worth it.
 * What is dead stays dead, so a sweep may come late, be cut short, and be repeated.
 */
import type { Bitset } from '../base/bitset.ts'
import type { EgroupId, NodeId } from '../base/units.ts'
import type { EgroupRecord } from '../cluster/records.ts'
import { atOnce, bulkJobsAtOnce } from './at-once.ts'
import type { CuratorContext } from './context.ts'
import type { Pace } from './pace.ts'
import type { HeldCopy } from './reclaim-wire.ts'

/**
 * A copy is rewritten when its live slots are less than this part of its log. `eager`: to get back what there is. `lazy`:
 * while there is room, an egroup that is being overwritten had better be left until little of it lives: a rewrite of 70 %
 * writes 2.3 bytes for each that it gets back, one of 35 % writes 0.5.
 */
const COMPACT_BELOW = { eager: 0.7, lazy: 0.35 } as const

export type Eagerness = keyof typeof COMPACT_BELOW

/** An egroup with dead slots. */
export interface Suspect {
  /** Of its record when it was judged. */
  readonly revision: number
  readonly live: Bitset
}

export interface SweepResult {
  /** Device bytes given back, all copies together. */
  readonly reclaimedBytes: number
  readonly removedEgroups: number
  readonly compactedEgroups: number
}

type Inventories = ReadonlyMap<NodeId, ReadonlyMap<EgroupId, HeldCopy>>

export class Sweep {
  private readonly context: CuratorContext
  /** Egroup → live slots when it was found not worth a rewrite: it is not looked at again while they are as many. */
  private kept = new Map<EgroupId, { readonly live: number; readonly eagerness: Eagerness }>()

  constructor(context: CuratorContext) {
    this.context = context
  }

  async run(
    suspects: ReadonlyMap<EgroupId, Suspect>,
    inventories: Inventories,
    pace: Pace,
    eagerness: Eagerness,
  ): Promise<SweepResult> {
    const result = { reclaimedBytes: 0, removedEgroups: 0, compactedEgroups: 0 }
    const kept: typeof this.kept = new Map()
    const sweeps = bulkJobsAtOnce(this.context.membership.aliveMembers().length)
    await atOnce(suspects, sweeps, async ([egroup, { revision, live }]) => {
      this.context.proceed()
      if (live.count === 0) {
        if (!(await this.remove(egroup, revision))) return
        for (const copies of inventories.values()) {
          result.reclaimedBytes += copies.get(egroup)?.allocatedBytes ?? 0
        }
        result.removedEgroups++
      } else if (
        this.isKnown(egroup, live.count, eagerness) ||
        !(await this.isWorthIt(egroup, live, inventories, eagerness))
      ) {
        kept.set(egroup, { live: live.count, eagerness })
      } else {
        const { freedBytes, readBytes } = await this.compact(egroup, live)
        await pace.spent(readBytes)
        if (freedBytes === 0) return
        result.reclaimedBytes += freedBytes
        result.compactedEgroups++
      }
    })
    this.kept = kept
    return result
  }

  /** The record may have changed since it was judged, when a copy moved: the egroup is as dead as before. */
  private async remove(egroup: EgroupId, judged: number): Promise<boolean> {
    const { directory } = this.context
    let record = directory.record(egroup)
    for (let revision = judged; !(await directory.remove(egroup, revision)); ) {
      const entry = await directory.refresh(egroup)
      if (entry === undefined) return false
      revision = entry.revision
      record = entry.value
    }
    if (record !== undefined) await this.dropCopies(egroup, record)
    return true
  }

  private async dropCopies(egroup: EgroupId, record: EgroupRecord): Promise<void> {
    const { stores } = this.context
    await Promise.allSettled(this.reachable(record).map((node) => stores.of(node).dropCopy(egroup)))
  }

  /** It was not worth it when it was last looked at, and is as it was then. */
  private isKnown(egroup: EgroupId, live: number, eagerness: Eagerness): boolean {
    const before = this.kept.get(egroup)
    return before?.live === live && (before.eagerness === 'eager' || eagerness === 'lazy')
  }

  /** By the largest copy; they are the same, unless one missed an earlier compaction. */
  private async isWorthIt(
    egroup: EgroupId,
    live: Bitset,
    inventories: Inventories,
    eagerness: Eagerness,
  ): Promise<boolean> {
    const { directory, stores } = this.context
    const record = directory.record(egroup)
    if (record === undefined) return false
    let largest: { readonly node: NodeId; readonly length: number } | undefined
    for (const node of this.reachable(record)) {
      const length = inventories.get(node)?.get(egroup)?.length
      if (length !== undefined && length > (largest?.length ?? -1)) largest = { node, length }
    }
    if (largest === undefined) return false
    try {
      let liveBytes = 0
      for (const { slot, storedBytes } of await stores.of(largest.node).slots(egroup)) {
        if (live.has(slot)) liveBytes += storedBytes
      }
      return liveBytes < COMPACT_BELOW[eagerness] * largest.length
    } catch {
      // The copy has moved on, or its device has failed: another scan will see.
      return false
    }
  }

  private async compact(
    egroup: EgroupId,
    live: Bitset,
  ): Promise<{ readonly freedBytes: number; readonly readBytes: number }> {
    const { directory, stores, counters } = this.context
    const record = directory.record(egroup)
    if (record === undefined) return { freedBytes: 0, readBytes: 0 }
    const results = await Promise.allSettled(
      this.reachable(record).map((node) => stores.of(node).compact(egroup, live)),
    )
    let freedBytes = 0
    // A copy that refuses is damaged (the scrub repairs it), or full, or away: it comes again.
    for (const result of results) if (result.status === 'fulfilled') freedBytes += result.value.freedBytes
    const readBytes = record.length * results.length
    if (freedBytes > 0) counters.backgroundBytes += readBytes
    return { freedBytes, readBytes }
  }

  private reachable(record: EgroupRecord): NodeId[] {
    return record.copies.map((copy) => copy.node).filter((node) => this.context.membership.isAlive(node))
  }
}
