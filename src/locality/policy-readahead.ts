/**
 * The default: keep what was fetched, and fetch ahead what is likely to be read. Two kinds of evidence, each with a
 * feedback of its own, per vDisk, learned from that vDisk's reads alone:
 *
 *   streams   reads that go on where an earlier one ended (readahead/stream-table.ts). How far to go is what the
 *             survival curve of its runs says (readahead/run-survival.ts), and never further than the reader needs:
 *             the window is one read ahead, and doubles when a read had to wait for a prefetch still under way. A read
 *             smaller than its stream's largest is taken for the end of a file. The more of what was prefetched stays
 *             unread, the surer a guess must be.
 *   regions   scattered reads that fill a region (readahead/region-table.ts).
 *
 * Over both stands one ledger. Prefetched blocks that are never read are the only bytes this policy puts on the wire
 * that reading without any copies would not, and every read of a held block is one that it saves: so
 * `prefetched − held reads` is exactly what the wire carried more than with `never`, and it is not let above 32 MiB.
 *
 * While a vDisk is local, its reads teach the curve, and nothing is asked for.
 */
import { forgetOldest } from '../base/oldest.ts'
import type { VDiskId } from '../base/units.ts'
import {
  isNearlyHeld,
  KEEP_ONLY,
  type LocalityPolicy,
  type PrefetchRange,
  type ReadDecision,
  type ReadSeen,
} from './policy.ts'
import { REGION_BLOCKS, RegionTable } from './readahead/region-table.ts'
import { RunSurvival } from './readahead/run-survival.ts'
import { StreamTable } from './readahead/stream-table.ts'

/** vDisks remembered; the one that was read least lately goes first. */
const VDISKS = 256
/** Largest part of a stream asked for ahead of its reader: 1 MiB, in blocks. */
const AHEAD_MAX = 256
/** A guess is taken when it is right with this probability … */
const CONFIDENCE_MIN = 0.6
/** … and up to this one as prefetched blocks stay unread. */
const CONFIDENCE_MAX = 0.95
/** Unread blocks of streams at which the highest confidence is asked: 4 MiB, plus 3 % of what was used. */
const UNREAD_FIRST = 1024
const UNREAD_PER_USED = 0.03
/** Most blocks on the wire beyond what `never` would have cost: 32 MiB. */
const OVERDRAFT_MAX = 8192
/** Savings remembered against later guesses: 32 MiB. */
const SAVINGS_MAX = 8192
/** A vDisk without a remote or held read for so long is local: it is watched, and nothing is asked for. */
const LOCAL_AFTER_MS = 60_000

class VDiskReadahead {
  readonly #survival = new RunSurvival()
  readonly #streams = new StreamTable(this.#survival)
  #regions: RegionTable | undefined
  #lastRemoteAt = Number.NEGATIVE_INFINITY
  /** Blocks over the wire beyond what never-copy would have cost. */
  #overdraft = 0
  #streamFetched = 0
  #streamUsed = 0

  onRead(read: ReadSeen): ReadDecision {
    const { start, count, remoteBlocks, heldBlocks, now } = read
    const stream = this.#streams.read(start, count, read.lateBlocks > 0, now)
    if (remoteBlocks > 0 || heldBlocks > 0) this.#lastRemoteAt = now
    else if (now - this.#lastRemoteAt > LOCAL_AFTER_MS) return KEEP_ONLY
    this.#overdraft = Math.max(-SAVINGS_MAX, this.#overdraft - heldBlocks)
    this.#streamUsed += Math.min(heldBlocks, this.#streams.usedBlocks)
    this.#regions?.noteUse(start, count, heldBlocks)
    if (this.#overdraft >= OVERDRAFT_MAX) return KEEP_ONLY

    let ranges: PrefetchRange[] | undefined
    const ahead = this.#streamAhead(stream)
    if (ahead !== undefined) ranges = [ahead]
    if (remoteBlocks > 0 && !this.#streams.continues) {
      this.#regions ??= new RegionTable()
      const last = Math.floor((start + count - 1) / REGION_BLOCKS)
      for (let region = Math.floor(start / REGION_BLOCKS); region <= last; region++) {
        if (!this.#regions.touch(region)) continue
        ranges ??= []
        ranges.push({ start: region * REGION_BLOCKS, count: REGION_BLOCKS, reason: 'region' })
      }
    }
    return ranges === undefined ? KEEP_ONLY : { keep: true, prefetch: ranges }
  }

  onPrefetched(range: PrefetchRange, fetchedBlocks: number): void {
    this.#overdraft += fetchedBlocks
    if (range.reason === 'region') this.#regions?.noteFetched(range.start / REGION_BLOCKS, fetchedBlocks)
    else this.#streamFetched += fetchedBlocks
  }

  #streamAhead(stream: number): PrefetchRange | undefined {
    if (this.#streams.shrunk) return undefined
    const most = Math.min(AHEAD_MAX, this.#streams.window(stream))
    const likely = this.#survival.expectedAhead(this.#streams.length(stream), this.#confidence(), most)
    const from = this.#streams.aheadFrom(stream)
    const end = this.#streams.next(stream) + likely
    if (end <= from) return undefined
    this.#streams.askedTo(stream, end)
    return { start: from, count: end - from, reason: 'stream' }
  }

  #confidence(): number {
    const unread = this.#streamFetched - this.#streamUsed
    const strictness = unread / (UNREAD_FIRST + this.#streamUsed * UNREAD_PER_USED)
    return CONFIDENCE_MIN + (CONFIDENCE_MAX - CONFIDENCE_MIN) * Math.max(0, Math.min(1, strictness))
  }
}

class ReadaheadPolicy implements LocalityPolicy {
  readonly name = 'readahead'
  readonly shouldComplete = isNearlyHeld
  /** In the order of last use. */
  readonly #vdisks = new Map<VDiskId, VDiskReadahead>()
  #current: VDiskReadahead | undefined
  #currentId: VDiskId = -1

  onRead(read: ReadSeen): ReadDecision {
    return this.#of(read.vdisk).onRead(read)
  }

  onPrefetched(vdisk: VDiskId, range: PrefetchRange, fetchedBlocks: number): void {
    this.#vdisks.get(vdisk)?.onPrefetched(range, fetchedBlocks)
  }

  forget(vdisk: VDiskId): void {
    this.#vdisks.delete(vdisk)
    if (vdisk === this.#currentId) this.#current = undefined
  }

  #of(vdisk: VDiskId): VDiskReadahead {
    if (this.#current !== undefined && vdisk === this.#currentId) return this.#current
    let state = this.#vdisks.get(vdisk)
    if (state !== undefined) this.#vdisks.delete(vdisk)
    else state = new VDiskReadahead()
    this.#vdisks.set(vdisk, state)
    forgetOldest(this.#vdisks, VDISKS)
    this.#current = state
    this.#currentId = vdisk
    return state
  }
}

export function createReadaheadPolicy(): LocalityPolicy {
  return new ReadaheadPolicy()
}
