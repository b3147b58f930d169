/**
 * Fan-out append: one stream's frames onto RF nodes.
 *
 *   1. The frame is sealed for the open egroup: its id, generation, offset, first slot go into the header.
 *   2. The same bytes go to all copies in parallel; each checks generation and offset, writes, syncs, answers.
 *   3. All answered: the frame is acknowledged, and the stream's position moves behind it.
 *
 * A copy fails or is slow in step 2:
 *   a. the egroup is sealed in the directory at the last length that *all* copies acknowledged, without the bad
 *      copies (one compare-and-set, guarded by ownership),
 *   b. the next egroup is opened on healthy nodes,
 *   c. the same frame is sealed again for that one, and appended: full RF, no wait for a rebuild.
 * A crash between a and c loses nothing that was acknowledged: the frame in flight was not.
 * A crash before a leaves the egroup open; takeover seals it at its longest valid prefix. A frame that is found there
 * and re-appended later too is harmless: replay applies records in log order, and the re-appended one comes last.
 *
 * Full egroups are sealed behind the writer's back, and the next one is opened when half of the current is used, so
 * that neither costs a write any time. What could not be sealed while the catalog did not answer is sealed when the next
 * egroup is opened, or with the next rotation.
 *
 * When no node takes a whole egroup any more, user data is refused, and what is open stays open. Frames that a full
 * cluster needs to get out of it (trims, map pages, a frame that was under way when a copy failed) go on: into what is
 * open, and then into *short* egroups, which the nodes make room for in their log reserve, and which take no user data.
 */
import { codeOf, HitherError, invariant } from '../base/errors.ts'
import { Mutex } from '../base/queue.ts'
import {
  EGROUP_BYTES,
  type EgroupId,
  type Generation,
  KiB,
  type NodeId,
  SLOTS_MAX,
  type Tier,
  type VDiskId,
} from '../base/units.ts'
import type { IdAllocator } from '../cluster/ids.ts'
import type { ContainerRecord, EgroupRecord } from '../cluster/records.ts'
import type { FrameBuilder } from '../extent-store/frame-writer.ts'
import type { SpaceUse } from '../extent-store/types.ts'
import { BackgroundSeals, type WrittenEgroup } from './background-seals.ts'
import type { Directory } from './directory.ts'
import type { NodeStores } from './node-store.ts'
import type { OwnerGuard } from './owner-guard.ts'

/** Attempts to place one frame before the write fails. Each one drops at least one bad node. */
const APPEND_ATTEMPTS_MAX = 6

/**
 * Room of a short egroup: twice what the largest step of a checkpoint appends (64 pages of 2 KiB, vdisk/checkpoint.ts),
 * so that the log reserve of a small device is enough for many vDisks. Bytes.
 */
const SHORT_EGROUP_BYTES = 256 * KiB

/** Where a frame went. */
export interface Placement {
  readonly egroup: EgroupId
  readonly order: number
  /** Log offset of the frame, and of what comes behind it. */
  readonly offset: number
  readonly endOffset: number
  readonly baseSlot: number
}

export interface TargetChoice {
  readonly node: NodeId
  readonly tier: Tier
}

export interface StreamDeps {
  readonly stores: NodeStores
  readonly directory: Directory
  readonly ids: IdAllocator
  /**
   * Healthy nodes for a new egroup, best first, without `avoid`. Throws `NO_SPACE` or `NO_REPLICAS` when there are
   * fewer than `minCopies`. Space is judged for `use`.
   */
  readonly choose: (policy: ContainerRecord, avoid: ReadonlySet<NodeId>, use: SpaceUse) => TargetChoice[]
  readonly onSealedOnFailure: (egroup: EgroupId, dropped: readonly NodeId[]) => void
  readonly onError: (where: string, error: unknown) => void
}

const NOBODY: readonly NodeId[] = []

interface OpenEgroup extends WrittenEgroup {
  readonly order: number
  /** Log bytes that its copies have room for; less than EGROUP_BYTES: it is short, and takes no user data. */
  readonly roomBytes: number
  nextSlot: number
  /** `flush` durability: appended since the last sync. */
  dirty: boolean
}

export class StreamWriter {
  private readonly stream: VDiskId
  private readonly generation: Generation
  private readonly guard: OwnerGuard
  private readonly policy: ContainerRecord
  private readonly deps: StreamDeps
  private nextOrder: number
  private current: OpenEgroup | undefined
  private ahead: Promise<OpenEgroup> | undefined
  private readonly seals: BackgroundSeals
  /** Held by an append, and by whatever seals the egroup that it would go to. */
  private readonly appending = new Mutex()
  private readonly unsynced = new Set<OpenEgroup>()
  private last: { order: number; offset: number }
  private closed = false

  constructor(
    stream: VDiskId,
    generation: Generation,
    guard: OwnerGuard,
    policy: ContainerRecord,
    firstOrder: number,
    deps: StreamDeps,
  ) {
    this.stream = stream
    this.generation = generation
    this.guard = guard
    this.policy = policy
    this.nextOrder = firstOrder
    this.last = { order: firstOrder, offset: 0 }
    this.deps = deps
    this.seals = new BackgroundSeals(generation, guard, deps)
  }

  /** Place behind the last acknowledged frame. */
  get position(): { readonly order: number; readonly offset: number } {
    return this.last
  }

  /**
   * Appends one frame. One call at a time. `sync`: durable on all copies when it resolves. `use`: what it may take space
   * from.
   * Errors: `NO_SPACE`, `NO_REPLICAS` (nothing is applied), `STALE_GENERATION` (another CVM owns the stream).
   */
  async append(frame: FrameBuilder, sync: boolean, use: SpaceUse): Promise<Placement> {
    if (!this.appending.tryLock()) await this.appending.lock()
    try {
      return await this.place(frame, sync, use)
    } finally {
      this.appending.unlock()
    }
  }

  private async place(frame: FrameBuilder, sync: boolean, use: SpaceUse): Promise<Placement> {
    const bad = new Set<NodeId>()
    for (let attempt = 0; attempt < APPEND_ATTEMPTS_MAX; attempt++) {
      // Data that had its place when a copy failed is not refused for space.
      const target = await this.openFor(frame, bad, attempt > 0 && use === 'data' ? 'records' : use)
      const offset = target.offset
      const baseSlot = target.nextSlot
      const parts = frame.seal({
        egroup: target.egroup,
        generation: this.generation,
        offset,
        baseSlot,
        stream: this.stream,
      })
      const failed = await this.fanOut(target, offset, parts, sync)
      if (failed.length === 0) {
        target.offset = offset + frame.frameBytes
        target.nextSlot = baseSlot + frame.slotCount
        this.last = { order: target.order, offset: target.offset }
        if (!sync) {
          target.dirty = true
          this.unsynced.add(target)
        }
        if (target.offset >= EGROUP_BYTES / 2) this.openAhead()
        return { egroup: target.egroup, order: target.order, offset, endOffset: target.offset, baseSlot }
      }
      for (const node of failed) bad.add(node)
      await this.sealOnFailure(target, failed)
    }
    throw new HitherError('NO_REPLICAS', `no set of nodes took the write in ${APPEND_ATTEMPTS_MAX} attempts`)
  }

  /** Makes every frame appended so far durable on all copies (for `flush` durability). */
  async sync(): Promise<void> {
    const dirty = [...this.unsynced].filter((group) => group.dirty)
    this.unsynced.clear()
    await Promise.all(
      dirty.map(async (group) => {
        group.dirty = false
        const results = await Promise.allSettled(
          group.nodes.map((node) => this.deps.stores.of(node).syncCopy(group.egroup)),
        )
        const failed = group.nodes.filter((_, i) => results[i]!.status === 'rejected')
        if (failed.length === 0) return
        if (failed.length === group.nodes.length) {
          group.dirty = true
          this.unsynced.add(group)
          throw new HitherError('NO_REPLICAS', `no copy of egroup ${group.egroup} could be synced`)
        }
        try {
          if (this.current === group) await this.sealOnFailure(group, failed)
          else await this.dropCopies(group.egroup, failed)
        } catch (error) {
          // The copies that were not synced may still be listed: the next sync has to know.
          group.dirty = true
          this.unsynced.add(group)
          throw error
        }
      }),
    )
  }

  /** Seals what is open, so that the next owner starts with a clean stream. */
  async close(): Promise<void> {
    this.closed = true
    await this.rotate()
  }

  /** Seals what is open, so that the next frame goes to nodes that are chosen anew. Appends wait for a moment. */
  async rotate(): Promise<void> {
    await this.appending.run(async () => {
      const opened = await this.ahead?.catch(() => undefined)
      this.ahead = undefined
      if (opened !== undefined) this.seals.start(opened)
      if (this.current !== undefined) this.seals.start(this.current)
      this.current = undefined
      this.seals.retry()
    })
    await this.seals.settled()
  }

  private async openFor(frame: FrameBuilder, bad: ReadonlySet<NodeId>, use: SpaceUse): Promise<OpenEgroup> {
    invariant(frame.frameBytes <= EGROUP_BYTES, 'a frame fits into an egroup')
    const before = this.current
    if (before !== undefined && takes(before, frame, use)) return before
    this.seals.retry()
    const next = (await this.takeAhead(bad)) ?? (await this.openNext(frame.frameBytes, bad, use))
    if (before !== undefined) this.seals.start(before)
    this.current = next
    return next
  }

  private async takeAhead(bad: ReadonlySet<NodeId>): Promise<OpenEgroup | undefined> {
    const opened = await this.ahead?.catch(() => undefined)
    this.ahead = undefined
    if (opened?.nodes.some((node) => bad.has(node)) !== true) return opened
    this.seals.start(opened)
    return undefined
  }

  /** A whole egroup if there is room for one, else a short one if `use` allows it. */
  private async openNext(frameBytes: number, bad: ReadonlySet<NodeId>, use: SpaceUse): Promise<OpenEgroup> {
    try {
      return await this.open(bad, 'data', EGROUP_BYTES)
    } catch (error) {
      if (use === 'data' || codeOf(error) !== 'NO_SPACE') throw error
    }
    return this.open(bad, use, Math.max(SHORT_EGROUP_BYTES, frameBytes))
  }

  private openAhead(): void {
    if (this.ahead !== undefined || this.closed) return
    this.ahead = this.open(new Set(), 'data', EGROUP_BYTES)
    // A failure shows when the egroup is needed; until then nobody waits for it.
    this.ahead.catch(() => {})
  }

  /** Makes copies on the chosen nodes, puts the egroup into the directory, and makes sure that the copies are still there. */
  private async open(bad: ReadonlySet<NodeId>, use: SpaceUse, roomBytes: number): Promise<OpenEgroup> {
    const avoid = new Set(bad)
    let lastError: unknown
    for (let attempt = 0; attempt < APPEND_ATTEMPTS_MAX; attempt++) {
      let targets: TargetChoice[]
      try {
        targets = this.deps.choose(this.policy, avoid, use)
      } catch (error) {
        // A full node is a better explanation than a missing one.
        throw codeOf(lastError) === 'NO_SPACE' ? lastError : error
      }
      const egroup = await this.deps.ids.egroup()
      const order = this.nextOrder++
      const results = await Promise.allSettled(
        targets.map(({ node, tier }) =>
          this.deps.stores
            .of(node)
            .createCopy({ egroup, stream: this.stream, generation: this.generation, tier, use, roomBytes }),
        ),
      )
      const failed = targets.filter((_, i) => results[i]!.status === 'rejected')
      if (failed.length === 0) {
        const record: EgroupRecord = {
          stream: this.stream,
          order,
          state: 'open',
          length: 0,
          generation: this.generation,
          rf: this.policy.rf,
          copies: targets.map(({ node, tier }) => ({ node, tier })),
        }
        const nodes = targets.map((target) => target.node)
        const group: OpenEgroup = {
          egroup,
          order,
          roomBytes,
          nodes,
          offset: 0,
          nextSlot: 0,
          dirty: false,
          listed: false,
        }
        try {
          await this.deps.directory.add(egroup, record, this.guard)
        } catch (error) {
          // It may be listed all the same, now or later.
          this.seals.failed(group, error)
          throw error
        }
        group.listed = true
        const lost = await this.lostBeforeListed(group)
        if (lost.length === 0) return group
        await this.sealOnFailure(group, lost)
        lastError = new HitherError('NO_REPLICAS', `${lost.join(', ')} lost a new copy of egroup ${egroup}`)
        continue
      }
      for (const [i, target] of targets.entries()) {
        const result = results[i]!
        if (result.status === 'rejected') {
          lastError = result.reason
          avoid.add(target.node)
        } else {
          void this.deps.stores
            .of(target.node)
            .dropCopy(egroup)
            .catch(() => {})
        }
      }
    }
    throw lastError
  }

  /** Nodes that started anew after they had made their copy, and dropped it since nobody listed it (cvm/reconcile.ts). */
  private async lostBeforeListed({ egroup, nodes }: OpenEgroup): Promise<NodeId[]> {
    const infos = await Promise.allSettled(nodes.map((node) => this.deps.stores.of(node).copyInfo(egroup)))
    // Of one that does not answer, the append will find out.
    return nodes.filter((_, i) => {
      const info = infos[i]!
      return info.status === 'fulfilled' && info.value === undefined
    })
  }

  /**
   * Resolves when all have answered, with the nodes that did not acknowledge. Rejects when the stream belongs to another
   * CVM. Counts answers instead of gathering them: it is on the path of every frame.
   */
  private fanOut(
    target: OpenEgroup,
    offset: number,
    parts: readonly Uint8Array[],
    sync: boolean,
  ): Promise<readonly NodeId[]> {
    const { egroup, nodes } = target
    const request = { egroup, generation: this.generation, offset, parts, sync }
    return new Promise((resolve, reject) => {
      let left = nodes.length
      let failed: NodeId[] | undefined
      let stale: unknown
      const ended = (): void => {
        if (--left > 0) return
        if (stale === undefined) resolve(failed ?? NOBODY)
        else reject(stale)
      }
      for (const node of nodes) {
        this.deps.stores
          .of(node)
          .append(request)
          .then(ended, (error: unknown) => {
            if (codeOf(error) === 'STALE_GENERATION') stale ??= error
            else failed = [...(failed ?? NOBODY), node]
            ended()
          })
      }
    })
  }

  private async sealOnFailure(group: OpenEgroup, failed: readonly NodeId[]): Promise<void> {
    if (this.current === group) this.current = undefined
    const kept = group.nodes.filter((node) => !failed.includes(node))
    // When every copy failed, which of them is good is for recovery to find out: all stay listed.
    const nodes = kept.length > 0 ? kept : group.nodes
    try {
      await this.deps.directory.update(
        group.egroup,
        (record) => ({
          ...record,
          state: 'sealed',
          length: group.offset,
          copies: record.copies.filter((copy) => nodes.includes(copy.node)),
        }),
        this.guard,
      )
    } catch (error) {
      this.seals.failed(group, error)
      throw error
    }
    this.deps.onSealedOnFailure(group.egroup, failed)
    void this.seals.sealCopies(group, nodes)
  }

  private async dropCopies(egroup: EgroupId, failed: readonly NodeId[]): Promise<void> {
    await this.deps.directory.update(
      egroup,
      (record) => {
        const copies = record.copies.filter((copy) => !failed.includes(copy.node))
        return copies.length === 0 || copies.length === record.copies.length
          ? undefined
          : { ...record, copies }
      },
      this.guard,
    )
  }
}

/** A frame for `use` has room in it. */
function takes(group: OpenEgroup, frame: FrameBuilder, use: SpaceUse): boolean {
  if (use === 'data' && group.roomBytes < EGROUP_BYTES) return false
  return group.offset + frame.frameBytes <= group.roomBytes && group.nextSlot + frame.slotCount <= SLOTS_MAX
}
