/**
 * Brings hot remote data to this node. Sits behind the read path as its observer, asks the policy, and does what it says
 * in the background, bounded, never in the way of a read:
 *
 *   keep       what a read fetched goes into a partial copy on this node's SSD
 *   prefetch   ranges that the policy expects to be read are fetched and kept, a few at a time
 *   complete   a partial copy that holds nearly all of its egroup is completed, and takes the place of a copy that
 *              serves nobody (locality/plan-localise.ts decides, locality/mover.ts does it)
 *
 * Keeping and giving up is in partial-copies.ts, completing in completion.ts. Whatever is dropped for lack of room or time costs another trip over the wire, nothing else. With nothing remote to
 * read, nothing is done: settled means still.
 */
import { asHitherError } from '../base/errors.ts'
import type { EgroupId, SlotIndex, VDiskId } from '../base/units.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type { StoredSlice } from '../extent-store/types.ts'
import type { HeatTable, TouchWindow } from '../locality/heat.ts'
import type { LocalityPolicy, PrefetchRange } from '../locality/policy.ts'
import type { Clock } from '../platform/types.ts'
import type { ReadObserver, ReadSources } from '../vdisk/context.ts'
import type { OwnedVDisk } from '../vdisk/owned-vdisk.ts'
import type { Completion } from './completion.ts'
import type { PartialCopies } from './partial-copies.ts'

const PREFETCHES_QUEUED_MAX = 256
const PREFETCHES_AT_ONCE = 2

export interface LocaliserDeps {
  readonly policy: LocalityPolicy
  readonly store: ExtentStore
  readonly partials: PartialCopies
  readonly completion: Completion
  readonly heat: HeatTable
  readonly touches: TouchWindow
  readonly clock: Clock
  /** The vDisk, when it is served here. */
  readonly ownedVDisk: (vdisk: VDiskId) => OwnedVDisk | undefined
  readonly onError: (where: string, error: unknown) => void
}

interface QueuedPrefetch {
  readonly vdisk: VDiskId
  readonly range: PrefetchRange
}

export class Localiser implements ReadObserver {
  private readonly deps: LocaliserDeps
  private readonly queue: QueuedPrefetch[] = []
  private prefetching = 0
  private closed = false

  constructor(deps: LocaliserDeps) {
    this.deps = deps
  }

  close(): void {
    this.closed = true
    this.queue.length = 0
    this.deps.partials.close()
    this.deps.completion.close()
  }

  onTouch(egroup: EgroupId): void {
    this.deps.heat.touch(egroup, this.deps.clock.now())
  }

  isPartial(egroup: EgroupId): boolean {
    return this.deps.partials.isPartial(egroup)
  }

  lacking(egroup: EgroupId, slots: readonly SlotIndex[]): SlotIndex[] {
    const held = this.deps.store.partialSlots(egroup)
    if (held !== undefined) return slots.filter((slot) => !held.has(slot))
    return this.deps.store.info(egroup) === undefined ? [...slots] : []
  }

  onRead(vdisk: VDiskId, start: number, count: number, sources: ReadSources): void {
    const { policy, clock, touches } = this.deps
    const { remoteBlocks, heldBlocks, lateBlocks, fetched } = sources
    const now = clock.now()
    const decision = policy.onRead({ vdisk, start, count, remoteBlocks, heldBlocks, lateBlocks, now })
    for (const { egroup, slices } of fetched) {
      touches.touch(egroup, start, count, now)
      if (decision.keep) void this.keep(egroup, slices)
    }
    for (const range of decision.prefetch) this.enqueue({ vdisk, range })
  }

  /** The vDisk has left this node, or was deleted. */
  forget(vdisk: VDiskId): void {
    this.deps.policy.forget(vdisk)
  }

  private enqueue(prefetch: QueuedPrefetch): void {
    if (this.closed || this.queue.length >= PREFETCHES_QUEUED_MAX) {
      this.deps.policy.onPrefetched(prefetch.vdisk, prefetch.range, 0)
      return
    }
    this.queue.push(prefetch)
    if (this.prefetching < PREFETCHES_AT_ONCE) void this.work()
  }

  private async work(): Promise<void> {
    this.prefetching++
    for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift()) {
      const { vdisk, range } = next
      let blocks = 0
      try {
        const keep = (egroup: EgroupId, slices: readonly StoredSlice[]) => this.keep(egroup, slices)
        blocks = (await this.deps.ownedVDisk(vdisk)?.prefetch(range.start, range.count, keep)) ?? 0
      } catch {
        // What could not be fetched ahead is fetched when it is read.
      }
      this.deps.policy.onPrefetched(vdisk, range, blocks)
      // Guest IO goes first.
      if (!this.closed) await this.deps.clock.turn().catch(() => {})
    }
    this.prefetching--
  }

  /** Resolves when it is stored, or let go; what follows from it goes on behind. Never rejects. */
  private async keep(egroup: EgroupId, slices: readonly StoredSlice[]): Promise<void> {
    try {
      await this.deps.partials.keep(egroup, slices)
    } catch (cause) {
      const error = asHitherError(cause)
      if (error.code === 'INTERNAL' && !this.closed) this.deps.onError('keeping what was read', error)
      return
    }
    void this.deps.completion.grown(egroup)
  }
}
