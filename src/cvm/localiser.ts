/**
 * Brings hot remote data to this node. Sits behind the read path as its observer, asks the policy, and does what it says
 * in the background, bounded, never in the way of a read:
 *
 *   keep       what a read fetched goes into a partial copy on this node's SSD
 *   prefetch   ranges that the policy expects to be read are fetched and kept, a few at a time
 *   complete   a partial copy that holds nearly all of its egroup is completed, and takes the place of a copy that
 *              serves nobody (locality/plan-localise.ts decides, locality/mover.ts does it)
 *
 * Whatever is dropped for lack of room or time costs another trip over the wire, nothing else. With nothing remote to
 * read, nothing is done: settled means still.
 */
import { codeOf } from '../base/errors.ts'
import { MiB } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type { StoredSlice } from '../extent-store/types.ts'
import { HeatTable, TouchWindow } from '../locality/heat.ts'
import { SSD_HIGH } from '../locality/marks.ts'
import type { Mover } from '../locality/mover.ts'
import { planLocalise } from '../locality/plan-localise.ts'
import type { LocalityPolicy, PrefetchRange } from '../locality/policy.ts'
import type { Clock } from '../platform/types.ts'
import type { Directory } from '../replication/directory.ts'
import type { NodeStores } from '../replication/node-store.ts'
import type { FetchedGroup, ReadObserver, ReadSources } from '../vdisk/context.ts'
import type { CvmCounters } from './cvm-counters.ts'
import type { Ownership } from './ownership.ts'
import { egroupView, nodeViews } from './plan-input.ts'
import type { EmitEvent } from './settings.ts'
import type { Space } from './space.ts'

/** Bytes of slices that wait to be stored; more are let go. */
const KEEPING_BYTES_MAX = 16 * MiB
const PREFETCHES_QUEUED_MAX = 256
const PREFETCHES_AT_ONCE = 2
/** A partial copy is looked at again when it has grown by this many slots. */
const COMPLETION_SLOTS_STEP = 8

export interface LocaliserDeps {
  readonly policy: LocalityPolicy
  readonly store: ExtentStore
  readonly stores: NodeStores
  readonly directory: Directory
  readonly membership: Membership
  readonly space: Space
  readonly mover: Mover
  readonly clock: Clock
  readonly counters: CvmCounters
  readonly emit: EmitEvent
  readonly ownership: () => Ownership
  readonly onError: (where: string, error: unknown) => void
}

interface QueuedPrefetch {
  readonly vdisk: number
  readonly range: PrefetchRange
}

export class Localiser implements ReadObserver {
  readonly heat = new HeatTable()
  private readonly touches = new TouchWindow()
  private readonly deps: LocaliserDeps
  private keepingBytes = 0
  private readonly queue: QueuedPrefetch[] = []
  private prefetching = 0
  /** Slots that a partial copy had when it was looked at last. */
  private readonly lookedAt = new Map<number, number>()
  private readonly completing = new Set<number>()
  private closed = false

  constructor(deps: LocaliserDeps) {
    this.deps = deps
  }

  close(): void {
    this.closed = true
    this.queue.length = 0
  }

  onTouch(egroup: number): void {
    this.heat.touch(egroup, this.deps.clock.now())
  }

  isPartial(egroup: number): boolean {
    return this.deps.store.partialSlots(egroup) !== undefined
  }

  lacking(egroup: number, slots: readonly number[]): number[] {
    const held = this.deps.store.partialSlots(egroup)
    if (held !== undefined) return slots.filter((slot) => !held.has(slot))
    return this.deps.store.info(egroup) === undefined ? [...slots] : []
  }

  onRead(
    vdisk: number,
    start: number,
    count: number,
    { remoteBlocks, heldBlocks, fetched }: ReadSources,
  ): void {
    const { policy, clock } = this.deps
    const now = clock.now()
    const decision = policy.onRead({ vdisk, start, count, remoteBlocks, heldBlocks, lateBlocks: 0, now })
    if (fetched.length > 0) {
      for (const { egroup } of fetched) this.touches.touch(egroup, start, count, now)
      if (decision.keep) void this.keepAll(fetched)
    }
    for (const range of decision.prefetch) this.enqueue({ vdisk, range })
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
      let blocks = 0
      try {
        const owned = this.deps.ownership().get(next.vdisk)
        if (owned !== undefined) {
          const brought = await owned.prefetch(next.range.start, next.range.count)
          blocks = brought.blocks
          await this.keepAll(brought.fetched)
        }
      } catch {
        // What could not be fetched ahead is fetched when it is read.
      }
      this.deps.policy.onPrefetched(next.vdisk, next.range, blocks)
      // Guest IO goes first.
      if (!this.closed) await this.deps.clock.turn().catch(() => {})
    }
    this.prefetching--
  }

  private async keepAll(groups: readonly FetchedGroup[]): Promise<void> {
    for (const { egroup, slices } of groups) {
      try {
        await this.keep(egroup, slices)
      } catch (error) {
        if (!this.closed && codeOf(error) === 'INTERNAL') this.deps.onError('keeping what was read', error)
      }
    }
  }

  private async keep(egroup: number, slices: readonly StoredSlice[]): Promise<void> {
    const { store, directory, counters, space, membership } = this.deps
    const record = directory.record(egroup)
    if (record === undefined || this.closed) return
    const { ssd } = space.usage(membership.self)!
    if (ssd.usedBytes > ssd.sizeBytes * SSD_HIGH) return
    let bytes = 0
    for (const slice of slices) bytes += slice.bytes.length
    if (this.keepingBytes + bytes > KEEPING_BYTES_MAX) return
    this.keepingBytes += bytes
    try {
      if (!(await store.keepPartial(egroup, record.stream, slices))) return
    } finally {
      this.keepingBytes -= bytes
    }
    counters.localisedBytes += bytes
    counters.backgroundBytes += bytes
    await this.considerCompleting(egroup)
  }

  private async considerCompleting(egroup: number): Promise<void> {
    const { store, stores, directory, membership, policy, space, clock, mover, counters } = this.deps
    const held = store.partialSlots(egroup)
    const entry = directory.get(egroup)
    if (held === undefined || entry === undefined || entry.value.state !== 'sealed') return
    const slotsHeld = held.count
    if (slotsHeld < (this.lookedAt.get(egroup) ?? 0) + COMPLETION_SLOTS_STEP && this.lookedAt.has(egroup))
      return
    if (this.completing.has(egroup)) return
    this.lookedAt.set(egroup, slotsHeld)
    if (this.lookedAt.size > 4096) this.lookedAt.delete(this.lookedAt.keys().next().value!)
    this.completing.add(egroup)
    try {
      const source = entry.value.copies.find((copy) => membership.isAlive(copy.node))
      if (source === undefined) return
      let liveBytes = 0
      let heldBytes = 0
      for (const { slot, storedBytes } of await stores.of(source.node).slots(egroup)) {
        liveBytes += storedBytes
        if (held.has(slot)) heldBytes += storedBytes
      }
      const now = clock.now()
      const complete = policy.shouldComplete({
        liveBytes,
        heldBytes,
        randomTouches: this.touches.touches(egroup, 'random', now),
        sequentialTouches: this.touches.touches(egroup, 'sequential', now),
      })
      if (!complete) return
      const owner = this.deps.ownership().serverOf(entry.value.stream) ?? membership.self
      const [move] = planLocalise(
        {
          nodes: nodeViews(membership, space),
          egroups: [egroupView(egroup, entry.value, owner, liveBytes, this.heat.heat(egroup, now))],
          partials: [
            { egroup, node: membership.self, heldBytes, heat: this.heat.heat(egroup, now), complete },
          ],
          now: clock.wall(),
        },
        { budgetBytes: Number.MAX_SAFE_INTEGER },
      )
      if (move === undefined) return
      const bytes = await mover.run(move)
      if (store.info(egroup)?.kind !== 'full') return
      counters.localisedBytes += bytes
      counters.backgroundBytes += bytes
      counters.localisedEgroups++
      this.lookedAt.delete(egroup)
      this.deps.emit({ type: 'localised', egroup, node: membership.self, bytes: heldBytes + bytes })
    } finally {
      this.completing.delete(egroup)
    }
  }
}
