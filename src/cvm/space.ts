/**
 * Where new egroups go, by space and health. Each CVM publishes its usage under its lease; placement reads the
 * published figures, and the store that is asked has the last word (`NO_SPACE` from `createCopy`).
 */
import { HitherError } from '../base/errors.ts'
import { EGROUP_BYTES, type NodeId, type Tier } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import { choosePlacement, type PlacementNode } from '../cluster/placement.ts'
import type { ContainerRecord, NodeRecord, UsageRecord } from '../cluster/records.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type { Clock, Random } from '../platform/types.ts'
import type { TargetChoice } from '../replication/stream-writer.ts'
import { FULL_SHARE } from './settings.ts'

/** Usage is published at most this often, and only when it changed. Milliseconds. */
const PUBLISH_INTERVAL_MS = 250

export function usageOf(store: ExtentStore): UsageRecord {
  const tiers = { ssd: { usedBytes: 0, sizeBytes: 0 }, hdd: { usedBytes: 0, sizeBytes: 0 } }
  for (const device of store.usage()) {
    if (device.failed) continue
    tiers[device.tier].usedBytes += device.usedBytes
    tiers[device.tier].sizeBytes += device.sizeBytes
  }
  return tiers
}

export class Space {
  private readonly membership: Membership
  private readonly store: ExtentStore
  private readonly clock: Clock
  private readonly random: Random
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
    const nodes: PlacementNode[] = []
    let full = 0
    for (const member of this.membership.aliveMembers()) {
      if (member.state !== 'member' || avoid.has(member.node)) continue
      const freeBytes = this.freeBytes(member)
      if (freeBytes < EGROUP_BYTES) full++
      else nodes.push({ node: member.node, block: member.block, freeBytes })
    }
    return { nodes, full }
  }

  /** For `StreamDeps.choose`: this node first. */
  choose(policy: ContainerRecord, avoid: ReadonlySet<NodeId>): TargetChoice[] {
    const { nodes, full } = this.candidates(avoid)
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
    return chosen.map((node) => ({ node, tier: this.tierFor(node) }))
  }

  /** SSD as long as it has room. */
  tierFor(node: NodeId): Tier {
    const usage = this.usage(node)
    if (usage === undefined || usage.ssd.sizeBytes === 0) return usage === undefined ? 'ssd' : 'hdd'
    const ssdFree = usage.ssd.sizeBytes * FULL_SHARE - usage.ssd.usedBytes
    return ssdFree < EGROUP_BYTES && usage.hdd.sizeBytes > 0 ? 'hdd' : 'ssd'
  }

  /** Bytes until the node refuses user writes. */
  private freeBytes(member: NodeRecord): number {
    const usage = this.usage(member.node)
    if (usage === undefined) {
      return member.devices.reduce((sum, device) => sum + device.size, 0)
    }
    const size = usage.ssd.sizeBytes + usage.hdd.sizeBytes
    return size * FULL_SHARE - usage.ssd.usedBytes - usage.hdd.usedBytes
  }
}
