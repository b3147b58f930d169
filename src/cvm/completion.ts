/**
 * Completes partial copies that hold nearly all of their egroup: the policy says when, locality/plan-localise.ts which
 * copy makes way, locality/mover.ts does it. One at a time, and not for each slice that comes: a copy is looked at
 * again when it has grown by a sixteenth of its egroup, or some time after it has grown by less.
 *
 * What the policy wants and the plan refuses (moved lately, no room, a node away, not checkpointed yet) is tried again
 * later, at longer and longer intervals, since a copy that is whole already does not grow any more.
 */
import { asHitherError } from '../base/errors.ts'
import { Mutex } from '../base/queue.ts'
import type { EgroupId, NodeId, VDiskId } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import { KIND_DATA } from '../extent-store/types.ts'
import type { HeatTable, TouchWindow } from '../locality/heat.ts'
import type { Mover } from '../locality/mover.ts'
import { planLocalise } from '../locality/plan-localise.ts'
import type { LocalityPolicy } from '../locality/policy.ts'
import type { Clock } from '../platform/types.ts'
import type { Directory } from '../replication/directory.ts'
import type { NodeStores } from '../replication/node-store.ts'
import type { CvmCounters } from './cvm-counters.ts'
import { egroupView, nodeViews } from './plan-input.ts'
import type { EmitEvent } from './settings.ts'
import type { Space } from './space.ts'

const GROWTH_SHARE = 1 / 16
const GROWTH_SLOTS_MIN = 8
const RETRY_FIRST_MS = 5_000
const RETRY_LAST_MS = 600_000
/** Egroups remembered; the one that was looked at first is forgotten first, and looked at once more. */
const LOOKS_MAX = 4096

export interface CompletionDeps {
  readonly policy: LocalityPolicy
  readonly store: ExtentStore
  readonly stores: NodeStores
  readonly directory: Directory
  readonly membership: Membership
  readonly space: Space
  readonly mover: Mover
  readonly clock: Clock
  readonly heat: HeatTable
  readonly touches: TouchWindow
  readonly counters: CvmCounters
  readonly emit: EmitEvent
  readonly ownerOf: (stream: VDiskId) => NodeId | undefined
  readonly onError: (where: string, error: unknown) => void
}

interface Look {
  /** Slots of the partial copy from which it is worth another look. */
  nextSlots: number
  retryMs: number
  cancelRetry: (() => void) | undefined
}

export class Completion {
  private readonly deps: CompletionDeps
  private readonly looks = new Map<EgroupId, Look>()
  private readonly turn = new Mutex()
  private closed = false

  constructor(deps: CompletionDeps) {
    this.deps = deps
  }

  close(): void {
    this.closed = true
    for (const look of this.looks.values()) look.cancelRetry?.()
    this.looks.clear()
  }

  /** The partial copy has grown, or may have. Resolves when it was looked at; never rejects. */
  async grown(egroup: EgroupId): Promise<void> {
    const info = this.deps.store.info(egroup)
    if (this.closed || info?.kind !== 'partial') return
    // It may not grow so far any more: an egroup can be short, and what is dead in it is never read.
    if (info.slotCount < (this.looks.get(egroup)?.nextSlots ?? 0)) return this.retry(egroup)
    try {
      await this.turn.run(() => this.look(egroup))
    } catch (cause) {
      const error = asHitherError(cause)
      if (error.code === 'INTERNAL' && !this.closed) this.deps.onError('completing a partial copy', error)
      else this.retry(egroup)
    }
  }

  private async look(egroup: EgroupId): Promise<void> {
    const { store, stores, directory, membership, policy, clock, touches } = this.deps
    const held = store.partialSlots(egroup)
    const entry = directory.get(egroup)
    if (this.closed || held === undefined || entry?.value.state !== 'sealed') {
      this.forget(egroup)
      return
    }
    const source = entry.value.copies.find(({ node }) => membership.isAlive(node))
    if (source === undefined) return this.retry(egroup)
    let liveBytes = 0
    let heldBytes = 0
    let slots = 0
    for (const { slot, storedBytes, kind } of await stores.of(source.node).slots(egroup)) {
      slots++
      // Map pages are not read by guests, and come only with the completion.
      if (kind !== KIND_DATA) continue
      liveBytes += storedBytes
      if (held.has(slot)) heldBytes += storedBytes
    }
    const look = this.lookOf(egroup)
    look.nextSlots = held.count + Math.max(GROWTH_SLOTS_MIN, Math.floor(slots * GROWTH_SHARE))
    const now = clock.now()
    const complete = policy.shouldComplete({
      liveBytes,
      heldBytes,
      randomTouches: touches.touches(egroup, 'random', now),
      sequentialTouches: touches.touches(egroup, 'sequential', now),
    })
    if (complete && !(await this.complete(egroup, liveBytes, heldBytes))) this.retry(egroup)
  }

  private async complete(egroup: EgroupId, liveBytes: number, heldBytes: number): Promise<boolean> {
    const { store, directory, membership, space, clock, heat, mover, counters, emit } = this.deps
    const record = directory.record(egroup)
    if (record === undefined) return true
    const node = membership.self
    const ownHeat = heat.heat(egroup, clock.now())
    const owner = this.deps.ownerOf(record.stream) ?? node
    const [move] = planLocalise(
      {
        nodes: nodeViews(membership, (other) => space.usage(other)),
        egroups: [egroupView(egroup, record, owner, liveBytes, ownHeat)],
        partials: [{ egroup, node, heldBytes, heat: ownHeat, complete: true }],
        now: clock.wall(),
      },
      { budgetBytes: Number.MAX_SAFE_INTEGER },
    )
    if (move === undefined) return false
    const bytes = await mover.run(move)
    counters.localisedBytes += bytes
    counters.backgroundBytes += bytes
    if (store.info(egroup)?.kind !== 'full') return false
    counters.localisedEgroups++
    this.forget(egroup)
    emit({ type: 'localised', egroup, node, bytes: heldBytes + bytes })
    return true
  }

  private lookOf(egroup: EgroupId): Look {
    let look = this.looks.get(egroup)
    if (look !== undefined) return look
    look = { nextSlots: 0, retryMs: RETRY_FIRST_MS, cancelRetry: undefined }
    this.looks.set(egroup, look)
    if (this.looks.size > LOOKS_MAX) this.forget(this.looks.keys().next().value!)
    return look
  }

  private retry(egroup: EgroupId): void {
    if (this.closed) return
    const look = this.lookOf(egroup)
    if (look.cancelRetry !== undefined) return
    look.cancelRetry = this.deps.clock.after(look.retryMs, () => {
      look.cancelRetry = undefined
      look.nextSlots = 0
      void this.grown(egroup)
    })
    look.retryMs = Math.min(RETRY_LAST_MS, look.retryMs * 2)
  }

  private forget(egroup: EgroupId): void {
    this.looks.get(egroup)?.cancelRetry?.()
    this.looks.delete(egroup)
  }
}
