/**
 * The Curator: the background scans of the cluster, one job a file.
 *
 *   reclaim.ts    takes away what no vDisk and no snapshot refers to
 *   rebuild.ts    brings every egroup back to RF copies
 *   moveCold      tiers and balance, given by the CVM
 *   scrub.ts      reads everything, repairs what is bad
 *   drain.ts      takes everything off a node
 *
 * Every CVM has one, and answers its peers' (reclaim-participant.ts, scrub-node.ts). The leader works: the live CVM with
 * the lowest id in the background, whoever is asked on request; leadership.ts keeps them apart.
 *
 * Settled means still. A background scan runs only when something has changed since the last one (an egroup, a vDisk, a
 * snapshot, a CVM), which every CVM notes from its watches: an idle cluster has one timer a CVM, and no IO. A scan that
 * changes something is followed by one more; that one finds nothing. Besides the interval, a rebuild follows soon after
 * an egroup has lost a copy, and after a node has been away for the rebuild delay; a reclaim, when much was written.
 */
import type { CuratorReport } from '../api.ts'
import { asHitherError, codeOf, HitherError } from '../base/errors.ts'
import { Mutex } from '../base/queue.ts'
import { MiB, type NodeId, type VDiskId } from '../base/units.ts'
import { METHOD } from '../replication/methods.ts'
import type { CuratorContext } from './context.ts'
import { Drain } from './drain.ts'
import { asLeader } from './leadership.ts'
import { LostCopies } from './lost-copies.ts'
import { Pace } from './pace.ts'
import { Rebuild } from './rebuild.ts'
import { Reclaim, type ReclaimResult } from './reclaim.ts'
import { ReclaimParticipant } from './reclaim-participant.ts'
import { Room } from './room.ts'
import { Scrub } from './scrub.ts'
import { ScrubNode } from './scrub-node.ts'
import { sealLostHere } from './seal-streams.ts'
import { SealedVolume } from './sealed-volume.ts'
import type { Eagerness } from './sweep.ts'
import { Unlisted } from './unlisted.ts'

/** Rate of background rebuilds, and of compactions. */
export const BACKGROUND_BYTES_PER_SECOND = 128 * MiB
/** An egroup that lost a copy is rebuilt after this time: whoever dropped it may be about to add another. Milliseconds. */
const REBUILD_SOON_MS = 1_000
/** Cold data moves so long after an SSD has filled past its mark: one round for many egroups. Milliseconds. */
const MOVE_SOON_MS = 300
/** A reclaim that met a change of the cluster is tried again once in the same scan, after this time. Milliseconds. */
const RECLAIM_AGAIN_MS = 200
/** A reclaim that the volume of writes asks for runs so long after. Milliseconds. */
const RECLAIM_SOON_MS = 20
/** A CVM that has not told by then what it has free is hung, or dead. */
const TELL_SPACE_MS = 500

export interface CuratorSettings {
  /** Time between background scans, ms; 0: only on request. */
  readonly curatorIntervalMs: number
  /** How long a CVM may be away before its copies are rebuilt elsewhere, ms. */
  readonly rebuildDelayMs: number
}

export interface CuratorJobs {
  /** Tiers and balance: one round of moves of cold data. */
  readonly moveCold?: () => Promise<{ readonly movedDownBytes: number; readonly evictedBytes: number }>
}

export type CuratorDeps = Omit<CuratorContext, 'proceed'>

export class Curator {
  private readonly context: CuratorContext
  private readonly settings: CuratorSettings
  private readonly jobs: CuratorJobs
  private readonly reclaim: Reclaim
  private readonly rebuild: Rebuild
  private readonly scrub: Scrub
  private readonly drain: Drain
  private readonly unlisted: Unlisted
  private readonly turn = new Mutex()
  /** Something has changed since the last scan began. */
  private changed = true
  private readonly sealed = new SealedVolume()
  /** By this CVM as a leader, ever. */
  private reclaimedBytes = 0
  private readonly room: Room
  private readonly downSince = new Map<NodeId, number>()
  private readonly unsubscribe: Array<() => void> = []
  private readonly timers = new Map<string, () => void>()
  private stopped = false

  /** Answers its peers from now on. */
  constructor(deps: CuratorDeps, settings: CuratorSettings, jobs: CuratorJobs = {}) {
    this.context = { ...deps, proceed: () => this.assertRunning() }
    this.settings = settings
    this.jobs = jobs
    this.reclaim = new Reclaim(this.context)
    this.rebuild = new Rebuild(this.context)
    this.scrub = new Scrub(this.context)
    this.drain = new Drain(this.context, this.rebuild)
    this.room = new Room(deps.platform.clock, async () => {
      // What another job gets back while this one waits for its turn counts as well.
      const before = this.reclaimedBytes
      await this.lead(() => this.reclaimNow(this.pace(true)))
      return this.reclaimedBytes - before
    })
    this.unlisted = new Unlisted(this.context)
    new ReclaimParticipant(this.context, this.unlisted)
    new ScrubNode(this.context)
    deps.rpc.handle(METHOD.publishUsage, async () => {
      await deps.space.publish()
      return {}
    })
    deps.rpc.handle(METHOD.rotateStream, async ({ vdisk }: { vdisk: VDiskId }) => {
      await deps.streams.rotate(vdisk)
      return {}
    })
  }

  /**
   * Call before the CVM takes its lease: from here on, news of egroups that were there before are refused, since they
   * may be of slots that a reclaim which this CVM did not take part in has found dead. All copies and records are looked at
   * here, too: there may be millions of them, and afterwards the lease does not wait.
   */
  async prepare(): Promise<void> {
    this.unsubscribe.push(this.unlisted.watch(), new LostCopies(this.context).watch())
    this.unlisted.look().catch((error: unknown) => this.context.onError('looking for unlisted copies', error))
    this.context.candidates.setWatermark(await this.context.ids.egroupWatermark())
  }

  /** Starts background work, when the settings ask for it. */
  start(): void {
    const { membership, directory, platform } = this.context
    for (const { node } of membership.members()) {
      if (!membership.isAlive(node)) this.nodeDown(node)
    }
    const note = () => {
      this.changed = true
    }
    this.unsubscribe.push(
      membership.onChange(({ node, alive }) => {
        this.changed = true
        if (alive) this.downSince.delete(node)
        else this.nodeDown(node)
      }),
      directory.onChange((egroup, record) => {
        this.changed = true
        this.sealed.changed(egroup, record)
        if (!this.timers.has('reclaim') && this.sealed.isDue(this.ssdBytes())) this.reclaimSoon()
        if (record?.state === 'sealed' && record.length > 0 && record.copies.length < record.rf) {
          this.rebuildIn(REBUILD_SOON_MS)
        }
      }),
      platform.catalog.watch('snapshot/', note),
      platform.catalog.watch('vdisk/', note),
    )
    this.armScan()
  }

  /** Ends background work, and waits for the scan under way, which ends at its next step. */
  async stop(): Promise<void> {
    this.kill()
    await this.turn.run(() => {})
  }

  /** Ends background work at once. */
  kill(): void {
    this.stopped = true
    for (const cancel of this.timers.values()) cancel()
    this.timers.clear()
    for (const end of this.unsubscribe.splice(0)) end()
  }

  /** Copies of this node are gone with their device: the open ones among them are sealed, so that they can be rebuilt. */
  async deviceFailed(): Promise<void> {
    await sealLostHere(this.context)
    await this.context.directory.catchUp()
  }

  /** Every scan once, to its end, on behalf of the whole cluster. Rejects only when nothing could be done. */
  runAll(): Promise<CuratorReport> {
    return this.lead(() => this.scan(true))
  }

  /** A write found no node with room: `true` when space was got back for it (room.ts). */
  makeRoom(): Promise<boolean> {
    if (this.stopped || this.settings.curatorIntervalMs === 0) return Promise.resolve(false)
    return this.room.make()
  }

  /** Takes everything off `node`; see drain.ts. Not on the node's own CVM. */
  drainNode(node: NodeId): Promise<void> {
    return this.lead(() => this.drain.run(node))
  }

  /** A node's SSD has filled past its mark: moves of cold data soon, if this CVM is the leader. */
  moveColdSoon(): void {
    const { moveCold } = this.jobs
    if (moveCold === undefined || this.timers.has('moves')) return
    this.arm('moves', MOVE_SOON_MS, () => {
      if (this.leads()) void this.inBackground('moves', moveCold)
    })
  }

  private lead<T>(work: () => Promise<T>): Promise<T> {
    return this.turn.run(() => {
      this.assertRunning()
      return asLeader(this.context.platform.catalog, this.context.membership, work)
    })
  }

  private async scan(onRequest: boolean): Promise<CuratorReport> {
    const { clock } = this.context.platform
    const startedAt = clock.now()
    this.changed = false
    const reasons: string[] = []
    const pace = this.pace(onRequest)
    const reclaimed = await this.reclaimTwice(pace)
    if (reclaimed.incomplete !== undefined) reasons.push(reclaimed.incomplete)
    const rebuilt = await this.part('rebuild', reasons, () => this.restoreCopies(onRequest, pace))
    const moved = await this.part('moves', reasons, async () => this.jobs.moveCold?.())
    const scrubbed = await this.part('scrub', reasons, () => this.scrub[onRequest ? 'all' : 'some']())
    if (rebuilt !== undefined && rebuilt.short > 0) {
      reasons.push(`${rebuilt.short} egroups have fewer copies than they should, and no node could take one`)
    }
    if (scrubbed !== undefined && scrubbed.missed.length > 0) {
      reasons.push(`copies on ${scrubbed.missed.join(', ')} were not scrubbed`)
    }
    if (reasons.length > 0 || (rebuilt?.surplus ?? 0) > 0) this.changed = true
    const report: CuratorReport = {
      reclaimedBytes: reclaimed.reclaimedBytes,
      removedEgroups: reclaimed.removedEgroups,
      compactedEgroups: reclaimed.compactedEgroups,
      rebuiltEgroups: rebuilt?.egroups ?? 0,
      rebuiltBytes: rebuilt?.bytes ?? 0,
      movedDownBytes: moved?.movedDownBytes ?? 0,
      evictedBytes: moved?.evictedBytes ?? 0,
      scrubbedBytes: scrubbed?.scrubbedBytes ?? 0,
      repairedSlices: scrubbed?.repairedSlices ?? 0,
      tookMs: Math.round(clock.now() - startedAt),
      ...(reasons.length > 0 ? { incomplete: reasons.join('; ') } : {}),
    }
    this.context.emit({ type: 'curator', report })
    return report
  }

  private async reclaimTwice(pace: Pace) {
    const first = await this.reclaimNow(pace)
    if (first.incomplete === undefined || this.stopped) return first
    await this.context.platform.clock.sleep(RECLAIM_AGAIN_MS)
    const second = await this.reclaimNow(pace)
    return {
      ...second,
      reclaimedBytes: first.reclaimedBytes + second.reclaimedBytes,
      removedEgroups: first.removedEgroups + second.removedEgroups,
      compactedEgroups: first.compactedEgroups + second.compactedEgroups,
    }
  }

  /** A part that fails does not keep the others from being done. */
  private async part<T>(name: string, reasons: string[], work: () => Promise<T>): Promise<T | undefined> {
    try {
      this.assertRunning()
      return await work()
    } catch (cause) {
      const error = asHitherError(cause)
      if (error.code === 'INTERNAL') this.context.onError(name, error)
      reasons.push(`${name}: ${error.message}`)
      return undefined
    }
  }

  /** On request, or after the rebuild delay, copies on nodes that are away do not count. */
  private restoreCopies(onRequest: boolean, pace: Pace) {
    const { membership } = this.context
    const counts = (node: NodeId) => {
      if (membership.member(node) === undefined) return false
      return membership.isAlive(node) || (!onRequest && !this.isOverdue(node))
    }
    return this.rebuild.run(counts, pace)
  }

  private pace(onRequest: boolean): Pace {
    const rate = onRequest ? Number.POSITIVE_INFINITY : BACKGROUND_BYTES_PER_SECOND
    const { clock, guests } = this.context.platform
    return new Pace(clock, guests, rate)
  }

  private isOverdue(node: NodeId): boolean {
    const since = this.downSince.get(node)
    return since !== undefined && this.context.platform.clock.now() - since >= this.settings.rebuildDelayMs
  }

  private nodeDown(node: NodeId): void {
    if (!this.downSince.has(node)) this.downSince.set(node, this.context.platform.clock.now())
    this.arm(`rebuild after ${node}`, this.settings.rebuildDelayMs + 1, () => void this.rebuildNow())
  }

  private rebuildIn(ms: number): void {
    if (!this.timers.has('rebuild')) this.arm('rebuild', ms, () => void this.rebuildNow())
  }

  private async rebuildNow(): Promise<void> {
    if (!this.leads()) return
    await this.inBackground('rebuild', () => this.restoreCopies(false, this.pace(false)))
  }

  private reclaimSoon(): void {
    this.arm('reclaim', RECLAIM_SOON_MS, () => {
      // Whoever does not lead begins to count anew, too: the leader is told of the same.
      this.sealed.reset()
      if (this.leads()) void this.inBackground('reclaim', () => this.reclaimNow(this.pace(false), 'lazy'))
    })
  }

  private async reclaimNow(pace: Pace, eagerness?: Eagerness): Promise<ReclaimResult> {
    this.sealed.reset()
    const result = await this.reclaim.run(pace, eagerness)
    this.reclaimedBytes += result.reclaimedBytes
    if (result.reclaimedBytes > 0) await this.tellSpace()
    return result
  }

  /**
   * Every CVM tells what it has free, and this one hears: a compaction changes nothing in the directory, and a write that
   * waited for it would find the nodes as full as before. One that does not answer is not waited for.
   */
  private async tellSpace(): Promise<void> {
    const { membership, space, rpc } = this.context
    const told = membership
      .aliveMembers()
      .map(({ node }) =>
        node === membership.self
          ? space.publish()
          : rpc.call(node, METHOD.publishUsage, undefined, [], TELL_SPACE_MS),
      )
    const heard = Promise.allSettled(told).then(() => membership.hearUsage())
    const patience = new AbortController()
    const { clock } = this.context.platform
    await Promise.race([heard.catch(() => {}), clock.sleep(TELL_SPACE_MS, patience.signal).catch(() => {})])
    patience.abort()
  }

  private ssdBytes(): number {
    const { membership } = this.context
    let bytes = 0
    for (const { node } of membership.members()) bytes += membership.usageOf(node)?.ssd.sizeBytes ?? 0
    return bytes
  }

  private armScan(): void {
    this.arm('scan', this.settings.curatorIntervalMs, () => {
      const scan =
        this.changed && this.leads() ? this.inBackground('scan', () => this.scan(false)) : undefined
      void Promise.resolve(scan).finally(() => this.armScan())
    })
  }

  /** One timer a name; none when the settings say that scans run on request only. */
  private arm(name: string, ms: number, fire: () => void): void {
    if (this.stopped || this.settings.curatorIntervalMs === 0) return
    this.timers.get(name)?.()
    const cancel = this.context.platform.clock.after(ms, () => {
      this.timers.delete(name)
      fire()
    })
    this.timers.set(name, cancel)
  }

  private async inBackground(name: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await this.lead(work)
    } catch (error) {
      const code = codeOf(error)
      if (this.stopped || (code !== undefined && asHitherError(error).retryable)) return
      this.context.onError(name, error)
    }
  }

  private leads(): boolean {
    const { membership } = this.context
    return !this.stopped && membership.aliveMembers()[0]?.node === membership.self
  }

  private assertRunning(): void {
    if (this.stopped)
      throw new HitherError('CVM_DOWN', `the CVM of ${this.context.membership.self} is stopping`)
  }
}
