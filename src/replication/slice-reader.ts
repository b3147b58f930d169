/**
 * Reads slices by (egroup, slot): this node's copy first, else the nearest peer's; verified; repaired where bad.
 *
 *   1. Local copy (full or partial) → the slots it holds.
 *   2. What is left: each other copy in the directory, same block first. Bytes from there are *remote*.
 *   3. A copy that was asked and said `corrupt`, or a full copy that said `missing` while another has the slot, is
 *      repaired in the background with the bytes that were found good; the read does not wait for it.
 * Only verified bytes leave this file: each copy verifies what it reads, and what came over the wire is verified
 * again here (the checksum travels with the slice).
 *
 * Errors: `CHECKSUM_MISMATCH` every copy was reached and none has good bytes; `DATA_UNAVAILABLE` (retryable) some
 * copy could not be reached; `SLOT_MISSING` the slot is in no copy: the map has moved on, or the egroup is gone.
 */
import { HitherError } from '../base/errors.ts'
import { hash64, hashOut } from '../base/hash.ts'
import type { EgroupId, NodeId, SlotIndex } from '../base/units.ts'
import type { EgroupRecord } from '../cluster/records.ts'
import type { SliceRead, StoredSlice } from '../extent-store/types.ts'
import type { Directory } from './directory.ts'
import type { NodeStores } from './node-store.ts'

export interface FetchedSlices {
  /** In the order asked for. */
  readonly slices: readonly StoredSlice[]
  /** Indexes into `slices` of those that came from another node. */
  readonly remote: readonly number[]
}

export interface SliceReaderDeps {
  readonly stores: NodeStores
  readonly directory: Directory
  /** Sorts the nodes that hold copies, nearest first, and leaves out those that are down. */
  readonly nearest: (record: EgroupRecord) => NodeId[]
  /** Does this node hold the slots of the egroup, all or in part? Synchronous, so that local reads cost one await. */
  readonly holdsLocally: (egroup: EgroupId) => boolean
  readonly onCorrupt: (egroup: EgroupId, node: NodeId, slots: readonly SlotIndex[]) => void
  /** Called once `slices` were written back to `node`. */
  readonly onRepaired: (egroup: EgroupId, node: NodeId, slices: number) => void
}

interface Suspect {
  readonly node: NodeId
  readonly slot: SlotIndex
}

export class SliceReader {
  private readonly deps: SliceReaderDeps
  private readonly repairing = new Set<Promise<void>>()

  constructor(deps: SliceReaderDeps) {
    this.deps = deps
  }

  /** `slots` without repeats. */
  read(egroup: EgroupId, slots: readonly SlotIndex[]): Promise<FetchedSlices> {
    const { stores, holdsLocally } = this.deps
    if (!holdsLocally(egroup)) return this.readElsewhere(egroup, slots, undefined)
    return stores
      .of(stores.self)
      .readSlots(egroup, slots)
      .then(
        (reads) => allGood(reads) ?? this.readElsewhere(egroup, slots, reads),
        () => this.readElsewhere(egroup, slots, undefined),
      )
  }

  /** Waits for repairs under way. */
  async settle(): Promise<void> {
    while (this.repairing.size > 0) await Promise.all(this.repairing)
  }

  private async readElsewhere(
    egroup: EgroupId,
    slots: readonly SlotIndex[],
    local: readonly SliceRead[] | undefined,
  ): Promise<FetchedSlices> {
    const self = this.deps.stores.self
    const found: Array<StoredSlice | undefined> = slots.map((_, i) => {
      const read = local?.[i]
      return read?.status === 'ok' ? read.slice : undefined
    })
    const remote: number[] = []
    const suspects: Suspect[] = []
    const outcome = { unreachable: false, corrupt: false }
    const record = this.deps.directory.record(egroup) ?? (await this.deps.directory.refresh(egroup))?.value
    if (record === undefined)
      throw new HitherError('SLOT_MISSING', `egroup ${egroup} is not in the directory`)
    if (local !== undefined) {
      const isFull = record.copies.some((copy) => copy.node === self)
      for (const read of local) this.judge(read, egroup, self, isFull, suspects, outcome)
    }
    const others = this.deps.nearest(record).filter((node) => node !== self)
    if (record.copies.some((copy) => copy.node !== self && !others.includes(copy.node)))
      outcome.unreachable = true
    if (local === undefined && record.copies.some((copy) => copy.node === self)) outcome.unreachable = true
    for (const node of others) {
      const wanted: number[] = []
      for (let i = 0; i < slots.length; i++) if (found[i] === undefined) wanted.push(i)
      if (wanted.length === 0) break
      let reads: SliceRead[]
      try {
        reads = await this.deps.stores.of(node).readSlots(
          egroup,
          wanted.map((i) => slots[i]!),
        )
      } catch {
        outcome.unreachable = true
        continue
      }
      for (const [j, i] of wanted.entries()) {
        const read = reads[j]
        if (read === undefined) continue
        if (read.status === 'ok' && isIntact(read.slice)) {
          found[i] = read.slice
          remote.push(i)
        } else {
          this.judge(read, egroup, node, true, suspects, outcome)
        }
      }
    }
    if (found.includes(undefined)) throw lost(egroup, outcome)
    const slices = found as StoredSlice[]
    if (suspects.length > 0) this.repair(egroup, suspects, slices)
    return { slices, remote: remote.sort((a, b) => a - b) }
  }

  private judge(
    read: SliceRead,
    egroup: EgroupId,
    node: NodeId,
    isFull: boolean,
    suspects: Suspect[],
    outcome: { corrupt: boolean },
  ): void {
    const slot = read.status === 'ok' ? read.slice.slot : read.slot
    if (read.status === 'missing') {
      if (isFull) suspects.push({ node, slot })
      return
    }
    if (read.status === 'ok' && node === this.deps.stores.self) return
    outcome.corrupt = true
    suspects.push({ node, slot })
    this.deps.onCorrupt(egroup, node, [slot])
  }

  private repair(egroup: EgroupId, suspects: readonly Suspect[], good: readonly StoredSlice[]): void {
    const work = (async () => {
      const bySlot = new Map(good.map((slice) => [slice.slot, slice]))
      const repaired = new Map<NodeId, number>()
      for (const { node, slot } of suspects) {
        const slice = bySlot.get(slot)
        if (slice === undefined) continue
        try {
          await this.deps.stores.of(node).repairSlot(egroup, slice)
          repaired.set(node, (repaired.get(node) ?? 0) + 1)
        } catch {
          // The scrub will find it again; the read has its bytes.
        }
      }
      for (const [node, count] of repaired) this.deps.onRepaired(egroup, node, count)
    })()
    const tracked = work.finally(() => this.repairing.delete(tracked))
    this.repairing.add(tracked)
  }
}

const NONE: readonly number[] = []

function allGood(reads: readonly SliceRead[]): FetchedSlices | undefined {
  const slices: StoredSlice[] = []
  for (const read of reads) {
    if (read.status !== 'ok') return undefined
    slices.push(read.slice)
  }
  return { slices, remote: NONE }
}

function isIntact(slice: StoredSlice): boolean {
  hash64(slice.bytes, 0, slice.bytes.length)
  return hashOut[0] === slice.checksumHi && hashOut[1] === slice.checksumLo
}

function lost(egroup: EgroupId, outcome: { unreachable: boolean; corrupt: boolean }): HitherError {
  if (outcome.unreachable) {
    return new HitherError(
      'DATA_UNAVAILABLE',
      `no reachable copy of egroup ${egroup} has the data; a node is down`,
    )
  }
  if (outcome.corrupt) {
    return new HitherError('CHECKSUM_MISMATCH', `every copy of a slice in egroup ${egroup} is corrupt`)
  }
  return new HitherError('SLOT_MISSING', `no copy of egroup ${egroup} holds the slot`)
}
