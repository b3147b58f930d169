/**
 * One round of moves of cold data, on the leader: tight SSD tiers go down, what is hot again comes up, full nodes give
 * to empty ones. Every CVM reports what it holds, how hot it is and how full its devices are; the planners (locality/)
 * decide, the mover acts. A node that does not report is taken for unhealthy: nothing is moved to it or from it.
 *
 * Planned again after each of the three, so that each sees what the one before has done. The hold time and the marks keep
 * moves from chasing each other; when there is nothing to do, the plans are empty.
 */
import { HitherError } from '../base/errors.ts'
import { Mutex } from '../base/queue.ts'
import { type EgroupId, GiB, type NodeId, type Tier } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import type { UsageRecord } from '../cluster/records.ts'
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
import { usageOf } from './space.ts'

/** Bytes that one round may carry. */
const ROUND_BYTES = 64 * GiB

/** After a round that moved nothing, the next one that nobody asked for waits for so long. Milliseconds. */
const REST_MS = 10_000

/** Where a copy lies, or that it is partial. */
type CopyPlace = Tier | 'partial'

/** What a node tells the leader. `copies`: egroup, device bytes, heat, place. */
interface HeatReport {
  readonly copies: ReadonlyArray<readonly [EgroupId, number, number, CopyPlace]>
  readonly usage: UsageRecord
}

interface HeldCopy {
  readonly bytes: number
  readonly heat: number
  readonly tier: Tier
}

export interface ColdMovesDeps {
  readonly store: ExtentStore
  readonly directory: Directory
  readonly membership: Membership
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
  private readonly turn = new Mutex()
  private restsUntil = Number.NEGATIVE_INFINITY
  private stopped = false

  /** Answers the leader from now on. */
  constructor(deps: ColdMovesDeps) {
    this.deps = deps
    deps.rpc.handle(METHOD.reportHeat, async () => ({ header: this.report() }))
  }

  stop(): void {
    this.stopped = true
  }

  /** Whether a round is worth its while though nobody asked for one: the last one found something to move. */
  isDue(): boolean {
    return this.deps.clock.now() >= this.restsUntil
  }

  /** One round at a time. `CVM_DOWN` when this CVM is stopping. */
  run(): Promise<ColdMoveReport> {
    return this.turn.run(() => this.round())
  }

  private async round(): Promise<ColdMoveReport> {
    const options = { budgetBytes: ROUND_BYTES }
    let movedDownBytes = 0
    let evictedBytes = 0
    let moves = 0
    for (const plan of [planTiers, planPromote, planBalance]) {
      for (const move of plan(await this.view(), options) as Move[]) {
        if (this.stopped) throw new HitherError('CVM_DOWN', 'this CVM is stopping')
        const bytes = await this.carryOut(move)
        moves++
        if (move.type === 'tier' && move.to === 'hdd') movedDownBytes += bytes
        if (move.type === 'evict') evictedBytes += bytes
      }
    }
    this.restsUntil = moves === 0 ? this.deps.clock.now() + REST_MS : Number.NEGATIVE_INFINITY
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
    const copies = store.copies().map(({ egroup, allocatedBytes, kind, tier }) => {
      return [egroup, allocatedBytes, heat.heat(egroup, now), kind === 'partial' ? kind : tier] as const
    })
    return { copies, usage: usageOf(store) }
  }

  /** Every live node's report; a node without one is left out. */
  private async reports(): Promise<Map<NodeId, HeatReport>> {
    const { membership, rpc } = this.deps
    const reports = new Map<NodeId, HeatReport>()
    const ask = async (node: NodeId): Promise<HeatReport> => {
      if (node === membership.self) return this.report()
      return (await rpc.call<HeatReport>(node, METHOD.reportHeat, undefined, [], CALL_TIMEOUT_MS)).header
    }
    await Promise.allSettled(
      membership.aliveMembers().map(async ({ node }) => {
        reports.set(node, await ask(node))
      }),
    )
    return reports
  }

  private async view(): Promise<PlanView> {
    const { directory, membership, clock, ownership } = this.deps
    const reports = await this.reports()
    const held = new Map<NodeId, Map<EgroupId, HeldCopy>>()
    const partials: PartialView[] = []
    for (const [node, { copies }] of reports) {
      const full = new Map<EgroupId, HeldCopy>()
      for (const [egroup, bytes, heat, place] of copies) {
        if (place === 'partial') partials.push({ egroup, node, heldBytes: bytes, heat, complete: false })
        else full.set(egroup, { bytes, heat, tier: place })
      }
      held.set(node, full)
    }
    const egroups: EgroupView[] = []
    for (const [egroup, { value }] of directory.all()) {
      if (value.state !== 'sealed' || value.length === 0) continue
      const owner = ownership.serverOf(value.stream) ?? value.copies[0]?.node ?? membership.self
      let bytes = 0
      // A store may have put a copy on the other tier than it was asked to: it knows best.
      const copies = value.copies.map(({ node, tier }) => {
        const copy = held.get(node)?.get(egroup)
        bytes = Math.max(bytes, copy?.bytes ?? 0)
        return { node, tier: copy?.tier ?? tier }
      })
      const heat = held.get(owner)?.get(egroup)?.heat ?? 0
      egroups.push(egroupView(egroup, { ...value, copies }, owner, bytes || value.length, heat))
    }
    return {
      nodes: nodeViews(membership, (node) => reports.get(node)?.usage),
      egroups,
      partials,
      now: clock.wall(),
    }
  }
}
