/**
 * Where new egroups go, by space and health. Each CVM publishes its usage under its lease; placement reads the
 * published figures, and the store that is asked has the last word (`NO_SPACE` from `createCopy`).
 */
import { HitherError } from '../base/errors.ts'
import { EGROUP_BYTES, type NodeId, type Tier } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import { choosePlacement, type PlacementNode } from '../cluster/placement.ts'
import type { ContainerRecord, NodeRecord, TierUsageRecord, UsageRecord } from '../cluster/records.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type { SpaceUse } from '../extent-store/types.ts'
import { SSD_HIGH } from '../locality/marks.ts'
import type { Clock, Random } from '../platform/types.ts'
import type { TargetChoice } from '../replication/stream-writer.ts'
import { usableTier } from './plan-input.ts'
import { FULL_SHARE } from './settings.ts'

/** Usage is published at most this often, and only when it changed. Milliseconds. */
const PUBLISH_INTERVAL_MS = 250
/** A peer's published usage has what was placed there by now, or it was never placed. Milliseconds. */
const PLACED_COUNTS_MS = 4 * PUBLISH_INTERVAL_MS

/** What this CVM has sent to a peer since the peer last published. */
interface Placed {
  readonly published: UsageRecord | undefined
  readonly bytes: number
  readonly at: number
}

/** The SSD is so full that what is cold has to leave it. */
export function isShort(usage: UsageRecord): boolean {
  const ssd = usableTier(usage.ssd)
  return ssd.usedBytes > ssd.sizeBytes * SSD_HIGH
}

export function usageOf(store: ExtentStore): UsageRecord {
  const none = { usedBytes: 0, sizeBytes: 0, reservedBytes: 0 }
  const tiers = { ssd: { ...none }, hdd: { ...none } }
  for (const device of store.usage()) {
    if (device.failed) continue
    tiers[device.tier].usedBytes += device.usedBytes
    tiers[device.tier].sizeBytes += device.sizeBytes
    tiers[device.tier].reservedBytes += device.reservedBytes
  }
  return tiers
}

export class Space {
  private readonly membership: Membership
  private readonly store: ExtentStore
  private readonly clock: Clock
  private readonly random: Random
  private readonly placed = new Map<NodeId, Placed>()
  private cancel: (() => void) | undefined
  private published = ''
  private closed = false

  constructor(membership: Membership, store: ExtentStore, clock: Clock, random: Random) {
    this.membership = membership
    this.store = store
    this.clock = clock
    this.random = random
  }

  /** Something was allocated or freed here: tell the others soon. */
  changed(): void {
    if (this.cancel !== undefined || this.closed) return
    this.cancel = this.clock.after(PUBLISH_INTERVAL_MS, () => {
      this.cancel = undefined
      this.publish().catch(() => this.changed())
    })
  }

  /** When it rejects, peers may or may not have heard: it is told again. */
  async publish(): Promise<void> {
    const usage = usageOf(this.store)
    const text = JSON.stringify(usage)
    if (text === this.published || this.closed) return
    this.published = text
    try {
      await this.membership.publishUsage(usage)
    } catch (error) {
      this.published = ''
      throw error
    }
  }

  close(): void {
    this.closed = true
    this.cancel?.()
  }

  /** Usage of any node: our own as it is, a peer's as published. */
  usage(node: NodeId): UsageRecord | undefined {
    return node === this.membership.self ? usageOf(this.store) : this.membership.usageOf(node)
  }

  /** Nodes that may take a new copy of user data, with their free space. */
  candidates(avoid: ReadonlySet<NodeId>): { nodes: PlacementNode[]; full: number } {
    return this.withRoom(avoid, EGROUP_BYTES, forData)
  }

  /** @throws `NO_SPACE` when too few nodes have room for user data because others are full. */
  assertTakesData(policy: ContainerRecord): void {
    const { nodes, full } = this.candidates(new Set())
    if (full === 0 || nodes.length >= policy.minCopies) return
    throw new HitherError('NO_SPACE', `${full} of ${full + nodes.length} healthy nodes are full`)
  }

  /** Nodes that have `bytes` left of what `limit` allows on each tier. */
  private withRoom(
    avoid: ReadonlySet<NodeId>,
    bytes: number,
    limit: (tier: TierUsageRecord) => number,
  ): { nodes: PlacementNode[]; full: number } {
    const nodes: PlacementNode[] = []
    let full = 0
    for (const member of this.membership.aliveMembers()) {
      if (member.state !== 'member' || avoid.has(member.node)) continue
      const freeBytes = this.freeBytes(member, limit)
      if (freeBytes < bytes) full++
      else
        nodes.push({
          node: member.node,
          block: member.block,
          freeBytes: freeBytes - this.placedBytes(member.node),
        })
    }
    return { nodes, full }
  }

  /**
   * For `StreamDeps.choose`: this node first. The mark is for user data; with anything else the stores have the only word,
   * which keep a reserve for it (extent-store/device-layout.ts).
   */
  choose(policy: ContainerRecord, avoid: ReadonlySet<NodeId>, use: SpaceUse): TargetChoice[] {
    const { nodes, full } =
      use === 'data' ? this.candidates(avoid) : this.withRoom(avoid, 1, (tier) => tier.sizeBytes)
    const chosen = choosePlacement(
      { candidates: nodes, count: policy.rf, near: this.membership.self },
      this.random,
    )
    if (chosen.length < Math.min(policy.rf, policy.minCopies)) {
      if (chosen.length + full >= policy.minCopies) {
        throw new HitherError(
          'NO_SPACE',
          `${full} of ${full + nodes.length} healthy nodes are full: fewer than ${policy.minCopies} can take a copy`,
        )
      }
      throw new HitherError(
        'NO_REPLICAS',
        `${chosen.length} healthy nodes can take a copy, and the container asks for ${policy.minCopies}`,
      )
    }
    for (const node of chosen) this.countPlaced(node)
    return chosen.map((node) => ({ node, tier: this.tierFor(node) }))
  }

  /**
   * Between two publications of a peer many egroups may go there. They count when peers are compared, so that the
   * copies spread evenly; they do not make a peer full, as one may have refused.
   */
  private countPlaced(node: NodeId): void {
    if (node === this.membership.self) return
    const bytes = this.placedBytes(node) + EGROUP_BYTES
    this.placed.set(node, { published: this.usage(node), bytes, at: this.clock.now() })
  }

  private placedBytes(node: NodeId): number {
    const placed = this.placed.get(node)
    if (placed === undefined) return 0
    if (placed.published === this.usage(node) && this.clock.now() - placed.at < PLACED_COUNTS_MS)
      return placed.bytes
    this.placed.delete(node)
    return 0
  }

  /** SSD as long as it has room. */
  tierFor(node: NodeId): Tier {
    const usage = this.usage(node)
    if (usage === undefined || usage.ssd.sizeBytes === 0) return usage === undefined ? 'ssd' : 'hdd'
    const ssdFree = forData(usage.ssd) - usage.ssd.usedBytes
    return ssdFree < EGROUP_BYTES && usage.hdd.sizeBytes > 0 ? 'hdd' : 'ssd'
  }

  /** Bytes until the node's tiers are at their limits together. */
  private freeBytes(member: NodeRecord, limit: (tier: TierUsageRecord) => number): number {
    const usage = this.usage(member.node)
    if (usage === undefined) {
      return member.devices.reduce((sum, device) => sum + device.size, 0)
    }
    return limit(usage.ssd) + limit(usage.hdd) - usage.ssd.usedBytes - usage.hdd.usedBytes
  }
}

/** Used bytes from which on a tier takes no user data: the mark, or earlier where a small device reserves more. */
function forData({ sizeBytes, reservedBytes }: TierUsageRecord): number {
  return Math.min(sizeBytes * FULL_SHARE, sizeBytes - reservedBytes)
}
