/**
 * Who is alive, and may this CVM still serve.
 *
 * Each CVM holds a lease in the catalog and puts `lease/<node>` under it. It renews four times per TTL. A peer is
 * alive while that key is there. This CVM may serve only while its own lease is certainly unexpired: it counts the
 * TTL from the moment it *sent* the last successful renewal, by its own clock, less a margin of a tenth for clock
 * drift, so that it stops before anyone else may start (Gray and Cheriton, "Leases", SOSP '89).
 *
 * `aliveSince` is this CVM's own observation: hold-down times are counted from it, so that a peer that flaps starts
 * again at zero each time.
 */
import { codeOf, type ErrorCode, HitherError } from '../base/errors.ts'
import type { NodeId } from '../base/units.ts'
import type { Platform } from '../platform/types.ts'
import {
  decodeRecord,
  encodeRecord,
  keys,
  type LeaseRecord,
  lastPart,
  type NodeRecord,
  type UsageRecord,
} from './records.ts'
import { RecordsView } from './records-view.ts'

/** `join` goes on after these: no answer, or the lease ended or had been granted by a request that was not answered. */
const JOIN_GOES_ON: ReadonlySet<ErrorCode | undefined> = new Set([
  'TIMEOUT',
  'LEASE_EXPIRED',
  'ALREADY_EXISTS',
])

/** What takes part in a cluster, or only watches it. */
type MemberPlatform = Pick<Platform, 'node' | 'clock' | 'random' | 'catalog'>

export type MembershipListener = (change: { node: NodeId; alive: boolean }) => void

export class Membership {
  readonly self: NodeId
  readonly incarnation: string
  private readonly platform: MemberPlatform
  private readonly ttlMs: number
  private readonly nodes: RecordsView<NodeRecord>
  private readonly leases: RecordsView<LeaseRecord>
  private readonly usages: RecordsView<UsageRecord>
  private readonly aliveSinceMs = new Map<NodeId, number>()
  private readonly listeners = new Set<MembershipListener>()
  private validUntil = 0
  /** `lease/<self>`, when last heard of, was this incarnation's. */
  private listed = false
  private cancelRenewal: () => void = () => {}
  private closed = false
  private readonly onLost: () => void

  private constructor(
    platform: MemberPlatform,
    ttlMs: number,
    incarnation: string,
    views: {
      nodes: RecordsView<NodeRecord>
      leases: RecordsView<LeaseRecord>
      usages: RecordsView<UsageRecord>
    },
    onLost: () => void,
  ) {
    this.platform = platform
    this.self = platform.node
    this.ttlMs = ttlMs
    this.incarnation = incarnation
    this.nodes = views.nodes
    this.leases = views.leases
    this.usages = views.usages
    this.onLost = onLost
    for (const [key] of this.leases.all()) this.aliveSinceMs.set(lastPart(key), platform.clock.now())
    this.leases.onChange((key, value) => this.leaseChanged(lastPart(key), value))
  }

  /** Watches the cluster; `join` makes this CVM a live part of it. `onLost` is called once when its lease ended. */
  static async open(platform: MemberPlatform, ttlMs: number, onLost: () => void): Promise<Membership> {
    const [nodes, leases, usages] = await Promise.all([
      RecordsView.open<NodeRecord>(platform.catalog, 'node/'),
      RecordsView.open<LeaseRecord>(platform.catalog, 'lease/'),
      RecordsView.open<UsageRecord>(platform.catalog, 'usage/'),
    ])
    const incarnation = `${platform.node}-${platform.random.u32().toString(16)}${platform.random.u32().toString(16)}`
    return new Membership(platform, ttlMs, incarnation, { nodes, leases, usages }, onLost)
  }

  /** Takes the lease. Waits for an earlier incarnation's to end, and as long as the catalog does not answer. */
  async join(): Promise<void> {
    while (!(await this.tryJoin())) {
      await this.platform.clock.sleep(Math.max(10, this.ttlMs / 20))
      if (this.closed)
        throw new HitherError('CVM_DOWN', `the CVM of ${this.self} was stopped while it joined`)
    }
    this.scheduleRenewal()
  }

  /** Gives the lease back: peers see this CVM leave at once, or when the lease ends if the catalog does not answer. */
  async leave(): Promise<void> {
    this.closed = true
    this.cancelRenewal()
    this.validUntil = 0
    try {
      await this.platform.catalog.revokeLease(this.incarnation)
    } catch {
      // It is not renewed any more.
    }
    this.close()
  }

  close(): void {
    this.closed = true
    this.cancelRenewal()
    this.nodes.close()
    this.leases.close()
    this.usages.close()
    this.listeners.clear()
  }

  /** May this CVM answer reads and writes as owner at this moment? */
  canServe(): boolean {
    return this.platform.clock.now() < this.validUntil
  }

  /** Throws `LEASE_EXPIRED` when it may not. */
  assertCanServe(): void {
    if (!this.canServe()) {
      throw new HitherError(
        'LEASE_EXPIRED',
        `the lease of ${this.self} has expired; a peer may serve its vDisks now`,
      )
    }
  }

  isAlive(node: NodeId): boolean {
    return this.leases.get(keys.lease(node)) !== undefined
  }

  /** Asks the catalog which of `nodes` are alive: the watch lags. What it does not answer is left to the watch. */
  async look(nodes: Iterable<NodeId>): Promise<void> {
    await Promise.allSettled(Array.from(nodes, (node) => this.leases.refresh(keys.lease(node))))
  }

  /** How long `node` has been alive without a break, as seen from here; 0 when it is not. Milliseconds. */
  aliveForMs(node: NodeId): number {
    const since = this.aliveSinceMs.get(node)
    return since === undefined ? 0 : this.platform.clock.now() - since
  }

  /** All member nodes in order of their ids. */
  members(): NodeRecord[] {
    return [...this.nodes.all()].map(([, entry]) => entry.value).sort((a, b) => compareNodes(a.node, b.node))
  }

  member(node: NodeId): NodeRecord | undefined {
    return this.nodes.value(keys.node(node))
  }

  aliveMembers(): NodeRecord[] {
    return this.members().filter((member) => this.isAlive(member.node))
  }

  usageOf(node: NodeId): UsageRecord | undefined {
    return this.usages.value(keys.usage(node))
  }

  /** Resolves when every usage that was published before this call is known here. */
  hearUsage(): Promise<void> {
    return this.usages.catchUp()
  }

  /** Tells when a node has published its space. */
  onUsage(listener: (node: NodeId, usage: UsageRecord) => void): () => void {
    return this.usages.onChange((key, usage) => {
      if (usage !== undefined) listener(lastPart(key), usage)
    })
  }

  /** Publishes this node's space. */
  async publishUsage(usage: UsageRecord): Promise<void> {
    if (this.closed) return
    await this.platform.catalog.commit({
      when: [],
      put: [{ key: keys.usage(this.self), value: encodeRecord(usage), lease: this.incarnation }],
    })
  }

  /** The node that takes over from `node`: the next live one in the ring of ids. All CVMs agree on it. */
  successorOf(node: NodeId): NodeId | undefined {
    const alive = this.aliveMembers()
      .map((member) => member.node)
      .filter((id) => id !== node)
    return alive.find((id) => compareNodes(id, node) > 0) ?? alive[0]
  }

  onChange(listener: MembershipListener): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  private leaseChanged(node: NodeId, value: LeaseRecord | undefined): void {
    if (value === undefined) this.aliveSinceMs.delete(node)
    else this.aliveSinceMs.set(node, this.platform.clock.now())
    if (node === this.self) {
      // The end of an earlier incarnation's lease is not the end of this one.
      const lost = value === undefined && this.listed
      this.listed = value?.incarnation === this.incarnation
      if (lost) this.lost()
    }
    for (const listener of this.listeners) listener({ node, alive: value !== undefined })
  }

  /** One attempt. The commit of an earlier one may have been applied without an answer: then the key is there. */
  private async tryJoin(): Promise<boolean> {
    const { catalog, clock } = this.platform
    const key = keys.lease(this.self)
    const own: LeaseRecord = { incarnation: this.incarnation }
    const sentAt = clock.now()
    try {
      if (!(await catalog.keepLease(this.incarnation))) {
        await catalog.grantLease(this.incarnation, this.ttlMs)
      }
      const entry = await catalog.get(key)
      let revision = entry?.revision
      if (entry === undefined) {
        const result = await catalog.commit({
          when: [{ key, revision: 0 }],
          put: [{ key, value: encodeRecord(own), lease: this.incarnation }],
        })
        if (!result.ok) return false
        revision = result.revision
      } else if (decodeRecord<LeaseRecord>(entry.value).incarnation !== this.incarnation) {
        return false
      }
      this.validUntil = sentAt + this.ttlMs * 0.9
      // News of an earlier incarnation's end that still comes is older, and says nothing any more.
      this.leases.learn(key, own, revision!)
      return true
    } catch (error) {
      if (!JOIN_GOES_ON.has(codeOf(error))) throw error
      return false
    }
  }

  private scheduleRenewal(): void {
    if (this.closed) return
    this.cancelRenewal = this.platform.clock.after(this.ttlMs / 4, () => void this.renew())
  }

  private async renew(): Promise<void> {
    if (this.closed) return
    const sentAt = this.platform.clock.now()
    try {
      if (await this.platform.catalog.keepLease(this.incarnation)) {
        this.validUntil = sentAt + this.ttlMs * 0.9
      } else if (!this.closed) {
        this.lost()
        return
      }
    } catch {
      // The catalog does not answer: the lease runs out by itself unless a later renewal succeeds.
    }
    this.scheduleRenewal()
  }

  private lost(): void {
    if (this.closed) return
    this.validUntil = 0
    this.closed = true
    this.cancelRenewal()
    this.onLost()
  }
}

/** `node-2` before `node-10`. */
export function compareNodes(a: NodeId, b: NodeId): number {
  const numberA = Number(/\d+$/.exec(a)?.[0] ?? Number.NaN)
  const numberB = Number(/\d+$/.exec(b)?.[0] ?? Number.NaN)
  if (numberA !== numberB && !Number.isNaN(numberA) && !Number.isNaN(numberB)) return numberA - numberB
  return a < b ? -1 : a > b ? 1 : 0
}
