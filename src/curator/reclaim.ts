/**
 * Reclaim: mark from all roots, sweep what no root refers to. Cluster-wide, run by one leader beside all IO.
 *
 *   a. The live CVMs and their incarnations are noted. Streams of deleted vDisks are found, their open egroups sealed.
 *   b. begin: every live CVM notes from here on each candidate that a write looks at.
 *   c. Egroups that are sealed now are *eligible*; the watermark is an id that none of them reaches.
 *   d. Each vDisk's owner checkpoints it, behind every write that has begun, and marks what the new root and the roots
 *      of its snapshots refer to. The answer also has the replay position of the checkpoint.
 *   e. Snapshots and vDisks are listed again, in that order, and what is new is marked, until nothing is.
 *   f. forget: every live CVM drops the candidates that name dead slots, refuses late news of egroups below the
 *      watermark, and answers which candidates were looked at since b. Those slots live.
 *   g. When the live CVMs and incarnations are still those of a, the rest is dead, and sweep.ts removes it. In every
 *      other case, and at any error before, nothing has changed: the run is *incomplete*.
 *
 * Which egroups are judged: eligible ones whose stream is an orphan since before b, or lies before the replay position
 * of its vDisk's checkpoint. From that position on frames may have to be replayed, and compaction drops map records.
 *
 * Why nothing that is dead in g can ever be referred to. Call R a slot in a judged egroup that some map refers to at
 * any time after g. The map record that says so is in a frame of a vDisk V, or in a tree that was there before.
 *   1. In V's map at its checkpoint in d: marked. That includes every write that was acknowledged, or looked for
 *      duplicates, before d: the checkpoint waits for them.
 *   2. Written by V itself in a later frame: then R lies in an egroup that was not sealed at c (an append never goes to
 *      a sealed egroup), so it is not judged.
 *   3. A duplicate in a later frame of V: its candidate was looked up after b (those before are in 1), so it was noted by
 *      the CVM that did it and is live, if the lookup came before f; after f no candidate names a dead slot. None can
 *      come back: this CVM's own inserts are of frames just written (2) or replayed from behind the checkpoint (2);
 *      inserts of deleted vDisks have ended before b was answered; news of peers that were under way is of egroups
 *      below the watermark. A CVM that starts after g begins with an empty index and a watermark of its own.
 *   4. V was created after the listing of e that found nothing new: it starts empty, or as a snapshot. A snapshot that
 *      was listed is marked. One that was not was taken after all checkpoints of d, so 1 to 3 hold for its tree. (It
 *      cannot have been taken before, cloned and deleted between the two listings: snapshots are listed first, and a
 *      clone is created while its snapshot exists, so the clone would have been listed.)
 *   5. A CVM that was not live at a owns nothing that is marked, since every owner has to answer d; activating a vDisk
 *      fences its frames off, or replays them, before the checkpoint. One that dies or restarts until g stops the run:
 *      what it had noted is lost.
 * So a dedupe hit on a slot that is being swept is impossible by construction. A read that had looked into the map before
 * the block was overwritten may find its slot gone: it looks again (vdisk/read-path.ts).
 */
import { allDone } from '../base/all-done.ts'
import { Bitset } from '../base/bitset.ts'
import { asHitherError, codeOf, HitherError } from '../base/errors.ts'
import type { EgroupId, NodeId, VDiskId } from '../base/units.ts'
import {
  decodeRecord,
  type EgroupRecord,
  keys,
  type LeaseRecord,
  lastPart,
  type OwnerRecord,
  type ReplayPosition,
  type SnapshotRecord,
} from '../cluster/records.ts'
import type { Versioned } from '../cluster/records-view.ts'
import type { Catalog } from '../platform/types.ts'
import { METHOD } from '../replication/methods.ts'
import { atOnce } from './at-once.ts'
import { type CuratorContext, putOff } from './context.ts'
import type { TreeRoot } from './mark.ts'
import { adoptOrphans } from './orphans.ts'
import type { Pace } from './pace.ts'
import {
  decodeInventory,
  type ForgetHeader,
  type HeldCopy,
  type MarkAnswer,
  type MarkHeader,
  type RunHeader,
} from './reclaim-wire.ts'
import { encodeSlotSets, SlotSets } from './slot-sets.ts'
import { type Eagerness, type Suspect, Sweep, type SweepResult } from './sweep.ts'

/** Calls that only wait for a CVM to get its bookkeeping done. Milliseconds. */
const STEP_TIMEOUT_MS = 30_000
/** A walk over one vDisk and its snapshots. A CVM that dies ends the call at once. Milliseconds. */
const MARK_TIMEOUT_MS = 300_000
const MARKS_AT_ONCE = 4
/** Attempts to find the owner of a vDisk that is moving, and the pause between them. */
const MARK_ATTEMPTS = 5
const MARK_RETRY_MS = 50
/** Listings of step e. */
const ROUNDS_MAX = 100

type Cvms = ReadonlyMap<NodeId, string>
type Inventories = ReadonlyMap<NodeId, ReadonlyMap<EgroupId, HeldCopy>>

export interface ReclaimResult extends SweepResult {
  /** Why nothing, or not all, was reclaimed. */
  readonly incomplete?: string
}

/** What steps d and e have found. */
interface Marks {
  readonly slots: SlotSets
  readonly replay: Map<VDiskId, ReplayPosition>
  readonly snapshots: Set<string>
}

interface MarkWork {
  readonly vdisk: VDiskId
  readonly own: boolean
  readonly roots: TreeRoot[]
}

export class Reclaim {
  private readonly context: CuratorContext
  private readonly sweep: Sweep
  private runs = 0

  constructor(context: CuratorContext) {
    this.context = context
    this.sweep = new Sweep(context)
  }

  /**
   * One run at a time, by the leader. Never rejects: what went wrong is in `incomplete`.
   * @param pace of the sweep, and how much must be dead for it to rewrite an egroup
   */
  async run(pace: Pace, eagerness: Eagerness = 'eager'): Promise<ReclaimResult> {
    const { catalog } = this.context.platform
    let result: SweepResult = { reclaimedBytes: 0, removedEgroups: 0, compactedEgroups: 0 }
    try {
      const cvms = await liveCvms(catalog)
      const run = `${this.context.membership.incarnation}/${++this.runs}`
      let judged: { suspects: Map<EgroupId, Suspect>; inventories: Inventories }
      try {
        judged = await this.judge(run, cvms)
      } finally {
        await this.tellAll(cvms, METHOD.endReclaim, { run } satisfies RunHeader).catch(() => {})
      }
      result = await this.sweep.run(judged.suspects, judged.inventories, pace, eagerness)
      return result
    } catch (cause) {
      const error = asHitherError(cause)
      if (error.code === 'INTERNAL') this.context.onError('reclaim', error)
      return { ...result, incomplete: `reclaim was put off: ${error.message}` }
    }
  }

  /** Steps a to g, up to the decision. */
  private async judge(run: string, cvms: Cvms) {
    const { directory, ids, platform } = this.context
    const orphans = await adoptOrphans(this.context)
    const inventories = await this.begin(run, cvms)
    await directory.catchUp()
    const eligible = new Map<EgroupId, Versioned<EgroupRecord>>()
    for (const [egroup, entry] of directory.all()) {
      if (entry.value.state === 'sealed') eligible.set(egroup, entry)
    }
    const watermark = await ids.egroupWatermark()
    const marks = await this.markAll(run, cvms)
    const suspects = new Map<EgroupId, Suspect>()
    for (const [egroup, { value, revision }] of eligible) {
      if (!isJudged(value, orphans, marks.replay)) continue
      const live = marks.slots.get(egroup) ?? new Bitset()
      if (holdsDead(egroup, live, inventories)) suspects.set(egroup, { revision, live })
    }
    if (suspects.size > 0) await this.forget(run, cvms, watermark, suspects)
    if (!sameCvms(cvms, await liveCvms(platform.catalog))) {
      throw putOff('a CVM has stopped or started meanwhile')
    }
    return { suspects, inventories }
  }

  private async begin(run: string, cvms: Cvms): Promise<Inventories> {
    const inventories = new Map<NodeId, Map<EgroupId, HeldCopy>>()
    const header: RunHeader = { run }
    await this.tellAll(cvms, METHOD.beginReclaim, header, [], (node, body) => {
      inventories.set(node, decodeInventory(body))
    })
    return inventories
  }

  private async markAll(run: string, cvms: Cvms): Promise<Marks> {
    const marks: Marks = { slots: new SlotSets(), replay: new Map(), snapshots: new Set() }
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const work = await this.unmarkedRoots(marks)
      if (work.length === 0) return marks
      await atOnce(work, MARKS_AT_ONCE, (item) => this.markVDisk(run, cvms, item, marks))
    }
    throw putOff('snapshots and vDisks are made faster than they can be marked')
  }

  /** Snapshots before vDisks: see 4 in the head of this file. */
  private async unmarkedRoots(marks: Marks): Promise<MarkWork[]> {
    const { catalog } = this.context.platform
    const snapshots = await catalog.list('snapshot/')
    const vdisks = await catalog.list('vdisk/')
    const work = new Map<VDiskId, MarkWork>()
    for (const { key } of vdisks) {
      const vdisk = Number(lastPart(key))
      work.set(vdisk, { vdisk, own: !marks.replay.has(vdisk), roots: [] })
    }
    for (const { key, revision, value } of snapshots) {
      const name = `${key}@${revision}`
      if (marks.snapshots.has(name)) continue
      marks.snapshots.add(name)
      const { vdisk, root, levels } = decodeRecord<SnapshotRecord>(value)
      work.get(vdisk)?.roots.push({ root, levels })
    }
    return [...work.values()].filter((item) => item.own || item.roots.length > 0)
  }

  private async markVDisk(run: string, cvms: Cvms, work: MarkWork, marks: Marks): Promise<void> {
    const { platform, rpc, proceed } = this.context
    const header: MarkHeader = { run, ...work }
    for (let attempt = 1; ; attempt++) {
      proceed()
      const entry = await platform.catalog.get(keys.owner(work.vdisk))
      // Deleted meanwhile: it is neither an orphan of before nor marked, so its stream is not judged.
      if (entry === undefined) return
      const owner = decodeRecord<OwnerRecord>(entry.value).node
      if (!cvms.has(owner)) throw new HitherError('CVM_DOWN', `${owner}, which owns a vDisk, is down`)
      try {
        const answer = await rpc.call<MarkAnswer>(owner, METHOD.markRoots, header, [], MARK_TIMEOUT_MS)
        marks.slots.merge(SlotSets.decode(answer.body))
        if (answer.header.replay !== undefined) marks.replay.set(work.vdisk, answer.header.replay)
        return
      } catch (error) {
        if (attempt === MARK_ATTEMPTS || !isMoving(error)) throw error
        await platform.clock.sleep(MARK_RETRY_MS * attempt)
      }
    }
  }

  /** Step f. Adds what was noted to the suspects' live slots. */
  private async forget(
    run: string,
    cvms: Cvms,
    watermark: EgroupId,
    suspects: ReadonlyMap<EgroupId, Suspect>,
  ): Promise<void> {
    const live = new Map<EgroupId, Bitset>()
    for (const [egroup, suspect] of suspects) live.set(egroup, suspect.live)
    const header: ForgetHeader = { run, watermark }
    await this.tellAll(cvms, METHOD.forgetSlots, header, [encodeSlotSets(live)], (_node, body) => {
      const noted = SlotSets.decode(body)
      for (const [egroup, slots] of live) {
        const hits = noted.get(egroup)
        if (hits !== undefined) slots.or(hits)
      }
    })
  }

  /** Calls every CVM; rejects when one of them does. */
  private async tellAll(
    cvms: Cvms,
    method: number,
    header: unknown,
    body: readonly Uint8Array[] = [],
    onAnswer: (node: NodeId, body: Uint8Array) => void = () => {},
  ): Promise<void> {
    const { rpc } = this.context
    await allDone(
      [...cvms.keys()].map(async (node) => {
        const answer = await rpc.call(node, method, header, body, STEP_TIMEOUT_MS)
        onAnswer(node, answer.body)
      }),
    )
  }
}

function isJudged(
  record: EgroupRecord,
  orphans: ReadonlySet<VDiskId>,
  replay: ReadonlyMap<VDiskId, ReplayPosition>,
): boolean {
  // An empty egroup holds nothing that could be replayed.
  if (record.length === 0 || orphans.has(record.stream)) return true
  const position = replay.get(record.stream)
  return position !== undefined && record.order < position.order
}

/** Whether some copy has a slot that is not live; also when no copy can be seen and no slot lives. */
function holdsDead(egroup: EgroupId, live: Bitset, inventories: Inventories): boolean {
  if (live.count === 0) return true
  for (const copies of inventories.values()) {
    if ((copies.get(egroup)?.slotCount ?? 0) > live.count) return true
  }
  return false
}

/** The vDisk is on its way to another CVM. */
function isMoving(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'NOT_OWNER' || code === 'STALE_GENERATION' || code === 'NOT_FOUND'
}

/** From the catalog, not from a view that lags. */
async function liveCvms(catalog: Catalog): Promise<Map<NodeId, string>> {
  const cvms = new Map<NodeId, string>()
  for (const { key, value } of await catalog.list('lease/')) {
    cvms.set(lastPart(key), decodeRecord<LeaseRecord>(value).incarnation)
  }
  return cvms
}

function sameCvms(a: Cvms, b: Cvms): boolean {
  return a.size === b.size && [...a].every(([node, incarnation]) => b.get(node) === incarnation)
}
