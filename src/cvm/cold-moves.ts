/**
 * One round of moves of cold data, on the leader: tight SSD tiers go down, what is hot again comes up, full nodes give
 * to empty ones. Every CVM reports what it holds and how hot it is; the planners (locality/) decide, the mover acts.
 *
 * Planned again after each of the three, so that each sees what the one before has done. The hold time and the marks keep
 * moves from chasing each other; when there is nothing to do, the plans are empty.
 */
import { HitherError } from '../base/errors.ts'
import { GiB, type NodeId } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type { HeatTable } from '../locality/heat.ts'
import type { Mover } from '../locality/mover.ts'
import { planBalance } from '../locality/plan-balance.ts'
import { planPromote } from '../locality/plan-promote.ts'
import { planTiers } from '../locality/plan-tiers.ts'
import type { EgroupView, Move, PartialView, PlanView } from '../locality/plan-view.ts'
import type { Clock } from '../platform/types.ts'
import type { Directory } from '../replication/directory.ts'
import { CALL_TIMEOUT_MS, METHOD } from '../replication/methods.ts'
import type { RpcEndpoint } from '../replication/rpc.ts'
import type { CvmCounters } from './cvm-counters.ts'
import type { Ownership } from './ownership.ts'
import { egroupView, nodeViews } from './plan-input.ts'
import type { EmitEvent } from './settings.ts'
import type { Space } from './space.ts'

/** Bytes that one round may carry. */
const ROUND_BYTES = 64 * GiB

/** Per copy: egroup, device bytes, heat, 1 for a partial copy. */
type HeatReport = Array<[number, number, number, 0 | 1]>

export interface ColdMovesDeps {
  readonly store: ExtentStore
  readonly directory: Directory
  readonly membership: Membership
  readonly space: Space
  readonly rpc: RpcEndpoint
  readonly mover: Mover
  readonly clock: Clock
  readonly heat: HeatTable
  readonly ownership: Ownership
  readonly counters: CvmCounters
  readonly emit: EmitEvent
}

export interface ColdMoveReport {
  readonly movedDownBytes: number
  readonly evictedBytes: number
}

export class ColdMoves {
  private readonly deps: ColdMovesDeps
  private stopped = false

  /** Answers the leader from now on. */
  constructor(deps: ColdMovesDeps) {
    this.deps = deps
    deps.rpc.handle(METHOD.reportHeat, async () => ({ header: this.report() }))
  }

  stop(): void {
    this.stopped = true
  }

  async run(): Promise<ColdMoveReport> {
    const options = { budgetBytes: ROUND_BYTES }
    let movedDownBytes = 0
    let evictedBytes = 0
    for (const plan of [planTiers, planPromote, planBalance]) {
      for (const move of plan(await this.view(), options) as Move[]) {
        if (this.stopped) throw new HitherError('CVM_DOWN', 'this CVM is stopping')
        const bytes = await this.carryOut(move)
        if (move.type === 'tier' && move.to === 'hdd') movedDownBytes += bytes
        if (move.type === 'evict') evictedBytes += bytes
      }
    }
    return { movedDownBytes, evictedBytes }
  }

  private async carryOut(move: Move): Promise<number> {
    const { mover, counters, emit } = this.deps
    let bytes: number
    try {
      bytes = await mover.run(move)
    } catch (error) {
      // One egroup that was changed meanwhile, or one node that went down, does not end the round.
      if (error instanceof HitherError && error.code !== 'INTERNAL') return 0
      throw error
    }
    counters.backgroundBytes += bytes
    if (bytes > 0 && move.type === 'tier') {
      emit({ type: 'tiered', egroup: move.egroup, node: move.node, to: move.to, bytes })
    }
    if (bytes > 0 && move.type === 'evict') {
      counters.evictedBytes += bytes
      counters.evictedEgroups++
      emit({ type: 'evicted', egroup: move.egroup, from: move.from, to: move.to, bytes })
    }
    return bytes
  }

  private report(): HeatReport {
    const { store, heat, clock } = this.deps
    const now = clock.now()
    return store
      .copies()
      .map((copy) => [
        copy.egroup,
        copy.allocatedBytes,
        heat.heat(copy.egroup, now),
        copy.kind === 'partial' ? 1 : 0,
      ])
  }

  private async view(): Promise<PlanView> {
    const { directory, membership, rpc, space, clock, ownership } = this.deps
    await this.deps.space.publish()
    const heats = new Map<NodeId, Map<number, [number, number]>>()
    const partials: PartialView[] = []
    await Promise.all(
      membership.aliveMembers().map(async ({ node }) => {
        const held = new Map<number, [number, number]>()
        const report =
          node === membership.self
            ? this.report()
            : (await rpc.call<HeatReport>(node, METHOD.reportHeat, undefined, [], CALL_TIMEOUT_MS)).header
        for (const [egroup, bytes, heat, partial] of report) {
          if (partial === 0) held.set(egroup, [bytes, heat])
          else partials.push({ egroup, node, heldBytes: bytes, heat, complete: false })
        }
        heats.set(node, held)
      }),
    )
    const egroups: EgroupView[] = []
    for (const [egroup, { value }] of directory.all()) {
      if (value.state !== 'sealed') continue
      const owner = ownership.serverOf(value.stream) ?? value.copies[0]?.node ?? membership.self
      const bytes = Math.max(...value.copies.map((copy) => heats.get(copy.node)?.get(egroup)?.[0] ?? 0))
      const heat = heats.get(owner)?.get(egroup)?.[1] ?? 0
      egroups.push(egroupView(egroup, value, owner, bytes, heat))
    }
    return { nodes: nodeViews(membership, space), egroups, partials, now: clock.wall() }
  }
}
