/**
 * Rebuild: every sealed egroup has RF copies that count, on distinct nodes, in distinct blocks where there are enough.
 *
 *   1. Streams that have an open egroup with a copy that does not count are asked to seal it. (A stream that is written
 *      to does so by itself; an idle one would go on with one copy less.)
 *   2. For each sealed egroup with fewer than RF copies that count: choose a node as for a new egroup; it pulls a copy
 *      from one that is reachable; one compare-and-set adds it to the directory. Many to many: sources and targets differ
 *      from egroup to egroup, in a large cluster several are under way together.
 *      One that has RF copies, but two of them in one block as no other was up when they were made, gets one more in another.
 *   3. Copies that do not count leave the record when RF others are in it, in the same compare-and-set.
 *   4. A record with more than RF copies that count loses one, when it was so at the last scan too: a move that adds
 *      before it removes is left to its mover.
 * A crash at any point leaves a copy that is not listed; its node drops it when it starts.
 */
import { codeOf } from '../base/errors.ts'
import type { EgroupId, NodeId, VDiskId } from '../base/units.ts'
import { withdrawn } from '../cluster/egroup-copies.ts'
import { choosePlacement } from '../cluster/placement.ts'
import type { CopyRecord, EgroupRecord } from '../cluster/records.ts'
import { atOnce, pullsAtOnce } from './at-once.ts'
import type { CuratorContext } from './context.ts'
import type { Pace } from './pace.ts'
import { type Counts, surplusCopy, withoutLost } from './rebuild-plan.ts'
import { ownerOf, sealStream } from './seal-streams.ts'

const SEALS_AT_ONCE = 4
/** Nodes that are tried for one copy before it is put off. */
const TARGETS_MAX = 3

export interface RebuildResult {
  readonly egroups: number
  readonly bytes: number
  /** Egroups that still have fewer than RF copies that count. */
  readonly short: number
  /** Over-replicated ones that were left to the next scan. */
  readonly surplus: number
}

interface Progress {
  egroups: number
  bytes: number
  short: number
}

export class Rebuild {
  private readonly context: CuratorContext
  /** Over-replicated at the last scan: egroup → revision of the record. */
  private surplus = new Map<EgroupId, number>()

  constructor(context: CuratorContext) {
    this.context = context
  }

  /** @param counts whether a copy on this node counts as one of RF. */
  async run(counts: Counts, pace: Pace): Promise<RebuildResult> {
    const { directory, platform, emit } = this.context
    const startedAt = platform.clock.now()
    const progress: Progress = { egroups: 0, bytes: 0, short: 0 }
    progress.short += await this.sealOpen(counts)
    await directory.catchUp()
    const lacking: EgroupId[] = []
    const crowded: EgroupId[] = []
    const surplus = new Map<EgroupId, number>()
    for (const [egroup, { value, revision }] of directory.all()) {
      if (value.state !== 'sealed' || value.length === 0) continue
      const good = value.copies.filter((copy) => counts(copy.node)).length
      if (good < value.rf || good < value.copies.length) lacking.push(egroup)
      else if (good > value.rf) surplus.set(egroup, revision)
      else if (this.isCrowded(value, counts)) crowded.push(egroup)
    }
    const pulls = pullsAtOnce(this.context.membership.aliveMembers().length)
    await atOnce(lacking, pulls, (egroup) => this.restore(egroup, counts, progress, pace))
    await atOnce(crowded, pulls, (egroup) => this.spread(egroup, counts, progress, pace))
    for (const [egroup, revision] of surplus) {
      if (this.surplus.get(egroup) !== revision) continue
      surplus.delete(egroup)
      await this.dropSurplus(egroup, revision)
    }
    this.surplus = surplus
    if (progress.egroups > 0) {
      const tookMs = Math.round(platform.clock.now() - startedAt)
      emit({ type: 'rebuilt', egroups: progress.egroups, bytes: progress.bytes, tookMs })
    }
    return { ...progress, surplus: surplus.size }
  }

  /** Step 1. Returns how many streams could not be asked. */
  private async sealOpen(counts: Counts): Promise<number> {
    const { directory } = this.context
    const streams = new Set<VDiskId>()
    for (const [, { value }] of directory.all()) {
      if (value.state === 'open' && value.copies.some((copy) => !counts(copy.node))) streams.add(value.stream)
    }
    let failed = 0
    await atOnce(streams, SEALS_AT_ONCE, async (stream) => {
      this.context.proceed()
      if (!(await sealStream(this.context, stream))) failed++
    })
    return failed
  }

  private async restore(egroup: EgroupId, counts: Counts, progress: Progress, pace: Pace): Promise<void> {
    const { directory, proceed } = this.context
    const full = new Set<NodeId>()
    let pulled = 0
    for (;;) {
      proceed()
      const record = directory.record(egroup)
      if (record === undefined) break
      if (record.copies.filter((copy) => counts(copy.node)).length >= record.rf) {
        await this.dropLost(egroup, record, counts)
        break
      }
      const bytes =
        full.size < TARGETS_MAX ? await this.addCopy(egroup, record, record.rf, counts, full) : undefined
      if (bytes === undefined) {
        progress.short++
        break
      }
      pulled += bytes
      await pace.spent(bytes)
    }
    this.count(pulled, progress)
  }

  /** Adds a copy in a block that has none. The one that is too many then goes with a later scan, as any does (step 4). */
  private async spread(egroup: EgroupId, counts: Counts, progress: Progress, pace: Pace): Promise<void> {
    this.context.proceed()
    const record = this.context.directory.record(egroup)
    if (record === undefined || record.copies.length > record.rf || !this.isCrowded(record, counts)) return
    const bytes = (await this.addCopy(egroup, record, record.rf + 1, counts, new Set())) ?? 0
    await pace.spent(bytes)
    this.count(bytes, progress)
  }

  private count(pulledBytes: number, progress: Progress): void {
    if (pulledBytes === 0) return
    progress.egroups++
    progress.bytes += pulledBytes
    this.context.counters.backgroundBytes += pulledBytes
  }

  /** Copies share a block, and one without any has a node that counts. */
  private isCrowded({ copies, rf }: EgroupRecord, counts: Counts): boolean {
    const blocks = new Set(copies.map((copy) => this.blockOf(copy.node)))
    if (blocks.size >= rf) return false
    return this.context.membership.members().some(({ node, block }) => counts(node) && !blocks.has(block))
  }

  /**
   * Returns the bytes that were pulled, 0 when the target did not take them; `undefined` when there is no way.
   * @param most copies that the record may have then; more than RF: the new one has to be in a block of its own
   */
  private async addCopy(
    egroup: EgroupId,
    record: EgroupRecord,
    most: number,
    counts: Counts,
    full: Set<NodeId>,
  ): Promise<number | undefined> {
    const { membership, stores } = this.context
    const target = await this.chooseTarget(record, most > record.rf, counts, full)
    const sources = record.copies
      .map((copy) => copy.node)
      .filter((node) => membership.isAlive(node))
      .sort((a, b) => Number(counts(b)) - Number(counts(a)))
    if (target === undefined || sources.length === 0) return undefined
    const { stream, generation } = record
    const tier = this.context.space.tierFor(target)
    let pulled: number
    for (const from of sources) {
      try {
        pulled = (await stores.of(target).pull({ egroup, stream, generation, tier, from })).bytes
      } catch (error) {
        const code = codeOf(error)
        if (code === 'NO_SPACE' || code === 'DEVICE_FULL' || code === 'DEVICE_FAILED') break
        continue
      }
      try {
        return (await this.list(egroup, target, most, counts)) ? pulled : 0
      } catch {
        // Whether it is listed now, or will be, is not known: not to be tried with another source.
        break
      }
    }
    full.add(target)
    return 0
  }

  private async chooseTarget(
    record: EgroupRecord,
    apartOnly: boolean,
    counts: Counts,
    full: ReadonlySet<NodeId>,
  ): Promise<NodeId | undefined> {
    const { space, platform } = this.context
    const avoid = new Set([...record.copies.map((copy) => copy.node), ...full])
    const blocks = new Set(apartOnly ? record.copies.map((copy) => this.blockOf(copy.node)) : [])
    const candidates = space
      .candidates(avoid)
      .nodes.filter(({ node, block }) => counts(node) && !blocks.has(block))
    const taken = record.copies
      .filter((copy) => counts(copy.node))
      .map(({ node }) => ({ node, block: this.blockOf(node) }))
    // The owner's node gains most by a copy, but not at the price of a failure domain.
    const owner = await ownerOf(this.context.platform.catalog, record.stream)
    const apart = owner !== undefined && !taken.some(({ block }) => block === this.blockOf(owner))
    const request = { candidates, count: 1, taken, ...(apart ? { near: owner } : {}) }
    return choosePlacement(request, platform.random)[0]
  }

  /** Puts the new copy into the directory; when somebody else was faster, it goes again. */
  private async list(egroup: EgroupId, target: NodeId, most: number, counts: Counts): Promise<boolean> {
    const { directory, stores, space } = this.context
    const tier = (await stores.of(target).copyInfo(egroup))?.tier ?? space.tierFor(target)
    let dropped: readonly CopyRecord[] = []
    const after = await directory.update(egroup, (record) => {
      dropped = []
      if (record.copies.some((copy) => copy.node === target)) return undefined
      if (record.copies.filter((copy) => counts(copy.node)).length >= most) return undefined
      const all = [...record.copies, { node: target, tier }]
      const copies = withoutLost(all, record.rf, counts)
      dropped = all.filter((copy) => !copies.includes(copy))
      return { ...record, copies }
    })
    const listed = after?.copies.some((copy) => copy.node === target) === true
    if (listed && (await stores.of(target).copyInfo(egroup))?.kind !== 'full') {
      // It started anew between the pull and the listing, and dropped what nobody listed (cvm/reconcile.ts).
      await directory.update(egroup, (record) => withdrawn(record, target, dropped))
      return false
    }
    await this.discard(egroup, listed ? dropped.map((copy) => copy.node) : [target])
    return listed
  }

  /** Step 3, for a record that has RF copies that count. */
  private async dropLost(egroup: EgroupId, record: EgroupRecord, counts: Counts): Promise<void> {
    if (record.copies.every((copy) => counts(copy.node))) return
    let dropped: readonly CopyRecord[] = []
    await this.context.directory.update(egroup, (current) => {
      const copies = withoutLost(current.copies, current.rf, counts)
      dropped = current.copies.filter((copy) => !copies.includes(copy))
      return dropped.length === 0 ? undefined : { ...current, copies }
    })
    await this.discard(
      egroup,
      dropped.map((copy) => copy.node),
    )
  }

  /** Step 4. */
  private async dropSurplus(egroup: EgroupId, revision: number): Promise<void> {
    const { directory } = this.context
    const entry = directory.get(egroup)
    if (entry?.revision !== revision) return
    const owner = await ownerOf(this.context.platform.catalog, entry.value.stream)
    const extra = surplusCopy(entry.value.copies, entry.value.rf, owner, (node) => this.blockOf(node))
    if (extra === undefined) return
    const copies = entry.value.copies.filter((copy) => copy !== extra)
    if (await directory.replace(egroup, revision, { ...entry.value, copies })) {
      await this.discard(egroup, [extra.node])
    }
  }

  /** Copies that no record lists any more. One that cannot be told drops them when it starts. */
  private async discard(egroup: EgroupId, nodes: readonly NodeId[]): Promise<void> {
    const { membership, stores } = this.context
    const alive = nodes.filter((node) => membership.isAlive(node))
    await Promise.allSettled(alive.map((node) => stores.of(node).dropCopy(egroup)))
  }

  /** A node that is no member any more is a block of its own. */
  private blockOf(node: NodeId): string {
    return this.context.membership.member(node)?.block ?? node
  }
}
