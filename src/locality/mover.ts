/**
 * Executes moves, one at a time. A move changes where copies of an egroup are, never what is in them:
 *
 *   1. make the new copy, whole and durable,
 *   2. one compare-and-set of the directory, against the record that was seen before 1,
 *   3. when the new copy is still there, give the old one up; else undo 2. (Its node may have started anew between 1 and 2,
 *      and dropped what nobody listed.)
 * A crash, or a change of the record, between 1 and 2 leaves a copy that no record lists: garbage, dropped here or by
 * the Curator. Between 2 and 3 the same of the old copy. RF copies are listed at every moment. Readers under way find
 * the old copy gone, look the directory up again, and go to the new one.
 *
 * A partial copy has slices, and no map records. So an egroup is localised only once it lies before the replay position
 * of its stream: no takeover will ever need its map records again (the same rule as that of compaction).
 */
import { HitherError } from '../base/errors.ts'
import { Mutex } from '../base/queue.ts'
import { MiB } from '../base/units.ts'
import { withdrawn } from '../cluster/egroup-copies.ts'
import {
  type CopyRecord,
  decodeRecord,
  type EgroupRecord,
  keys,
  type RootRecord,
} from '../cluster/records.ts'
import type { Versioned } from '../cluster/records-view.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type { StoredSlice } from '../extent-store/types.ts'
import type { BulkWork } from '../platform/bulk-work.ts'
import type { Catalog, Clock } from '../platform/types.ts'
import type { Directory } from '../replication/directory.ts'
import type { NodeStores, PullRequest } from '../replication/node-store.ts'
import type { DropPartialMove, EvictMove, LocaliseMove, Move, TierMove } from './plan-view.ts'

/** Slices of one request of a completion. */
const SLOTS_PER_READ = 128
/** Rate of all moves of this mover together, so that they stay below guest IO. */
export const MOVER_BYTES_PER_SECOND = 128 * MiB

export interface MoverDeps {
  readonly stores: NodeStores
  /** This node's own. */
  readonly store: ExtentStore
  readonly directory: Directory
  readonly catalog: Catalog
  readonly clock: Clock
  readonly bulk: BulkWork
}

export class Mover {
  private readonly deps: MoverDeps
  private readonly turn = new Mutex()
  /** What was carried so far, and the time it took, pauses included: for whoever checks the rate. */
  readonly load = { bytes: 0, ms: 0 }

  constructor(deps: MoverDeps) {
    this.deps = deps
  }

  /** In its turn. Bytes carried; 0 when the world has changed since the plan was made and nothing was done. */
  run(move: Move): Promise<number> {
    return this.turn.run(() => this.paced(move))
  }

  private async paced(move: Move): Promise<number> {
    const { clock } = this.deps
    const startedAt = clock.now()
    const bytes = await this.execute(move)
    const leftMs = (bytes / MOVER_BYTES_PER_SECOND) * 1000 - (clock.now() - startedAt)
    if (leftMs > 0) await clock.sleep(leftMs)
    this.load.bytes += bytes
    this.load.ms += clock.now() - startedAt
    return bytes
  }

  private execute(move: Move): Promise<number> {
    switch (move.type) {
      case 'tier':
        return this.tier(move)
      case 'drop-partial':
        return this.dropPartial(move)
      case 'evict':
        return this.evict(move)
      case 'localise':
        return this.localise(move)
    }
  }

  private async tier({ egroup, node, to }: TierMove): Promise<number> {
    const seen = this.sealed(egroup)
    if (seen?.value.copies.find((copy) => copy.node === node) === undefined) return 0
    const { movedBytes } = await this.deps.stores.of(node).moveTier(egroup, to)
    // The copy is on the other tier whatever the record says; it only has to be told.
    await this.deps.directory.update(egroup, (record) => {
      if (!record.copies.some((copy) => copy.node === node)) return undefined
      const copies = record.copies.map((copy) => (copy.node === node ? { node, tier: to } : copy))
      return { ...record, copies, movedAt: this.deps.clock.wall() }
    })
    return movedBytes
  }

  private async dropPartial({ egroup, node }: DropPartialMove): Promise<number> {
    await this.deps.stores.of(node).dropPartial(egroup)
    return 0
  }

  private async evict({ egroup, from, to, toTier }: EvictMove): Promise<number> {
    const seen = this.sealed(egroup)
    if (seen === undefined) return 0
    const { stream, generation } = seen.value
    const request: PullRequest = { egroup, stream, generation, tier: toTier, from }
    const { bytes } = await this.deps.stores.of(to).pull(request)
    await this.exchange(egroup, seen, from, { node: to, tier: toTier })
    return bytes
  }

  /** On this node only: what the partial copy lacks is fetched, then it is made a full one. */
  private async localise({ egroup, from, to }: LocaliseMove): Promise<number> {
    const { store, stores } = this.deps
    if (to !== stores.self)
      throw new HitherError('INTERNAL', `${stores.self} cannot complete a copy of ${to}`)
    const seen = this.sealed(egroup)
    const held = store.partialSlots(egroup)
    if (seen === undefined || held === undefined || !(await this.isCheckpointed(seen.value))) return 0
    const source = stores.of(from)
    const lacking = (await source.slots(egroup)).filter(({ slot }) => !held.has(slot))
    const rest = this.deps.bulk.begin()
    let bytes = 0
    for (let at = 0; at < lacking.length; at += SLOTS_PER_READ) {
      const slots = lacking.slice(at, at + SLOTS_PER_READ).map(({ slot }) => slot)
      const slices: StoredSlice[] = []
      for (const read of await source.readSlots(egroup, slots)) {
        if (read.status !== 'ok') return bytes
        slices.push(read.slice)
        bytes += read.slice.bytes.length
      }
      if (!(await store.keepPartial(egroup, seen.value.stream, slices))) return bytes
      await rest()
    }
    await store.completePartial(egroup, seen.value.generation)
    await this.exchange(egroup, seen, from, { node: to, tier: 'ssd' })
    return bytes
  }

  private sealed(egroup: number): Versioned<EgroupRecord> | undefined {
    const entry = this.deps.directory.get(egroup)
    return entry?.value.state === 'sealed' ? entry : undefined
  }

  /** The map records of the egroup are in the checkpoint, or its vDisk is gone: it will not be replayed. */
  private async isCheckpointed(record: EgroupRecord): Promise<boolean> {
    const entry = await this.deps.catalog.get(keys.root(record.stream))
    return entry === undefined || record.order < decodeRecord<RootRecord>(entry.value).replay.order
  }

  /** Steps 2 and 3. */
  private async exchange(
    egroup: number,
    seen: Versioned<EgroupRecord>,
    from: string,
    added: CopyRecord,
  ): Promise<void> {
    const { directory, stores, clock } = this.deps
    const listed = seen.value.copies
    let changed = false
    if (listed.some((copy) => copy.node === from) && !listed.some((copy) => copy.node === added.node)) {
      const copies = [...listed.filter((copy) => copy.node !== from), added]
      const record: EgroupRecord = { ...seen.value, copies, movedAt: clock.wall() }
      // When the answer is lost, both copies are left to the Curator.
      changed = await directory.replace(egroup, seen.revision, record)
    }
    if (!changed) {
      // Whoever was faster may have listed this very copy: then it has to stay.
      const now = await directory.refresh(egroup)
      if (!now?.value.copies.some((copy) => copy.node === added.node)) {
        await stores.of(added.node).dropCopy(egroup)
      }
      throw new HitherError('CONFLICT', `egroup ${egroup} was changed by somebody else while it moved`)
    }
    if ((await stores.of(added.node).copyInfo(egroup))?.kind !== 'full') {
      const replaced = listed.filter((copy) => copy.node === from)
      await directory.update(egroup, (record) => withdrawn(record, added.node, replaced))
      throw new HitherError('CONFLICT', `${added.node} lost its copy of egroup ${egroup} while it moved`)
    }
    // A copy that nobody lists any more is garbage: when this fails, its node finds out by itself.
    await stores
      .of(from)
      .dropCopy(egroup)
      .catch(() => {})
  }
}
