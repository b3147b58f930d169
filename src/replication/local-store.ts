/** This node's extent store as a `NodeStore`; pulling a copy is the one thing that also needs the peers. */
import type { Bitset } from '../base/bitset.ts'
import { HitherError } from '../base/errors.ts'
import {
  EGROUP_BYTES,
  type EgroupId,
  type Generation,
  KiB,
  type NodeId,
  type SlotIndex,
  type Tier,
} from '../base/units.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type {
  AppendRequest,
  CopyInfo,
  CopyState,
  ScrubReport,
  SliceRead,
  SlotSummary,
  StoredSlice,
} from '../extent-store/types.ts'
import type { BulkWork, GuestActivity } from '../platform/bulk-work.ts'
import type { NewCopy, NodeStore, NodeStores, PullRequest } from './node-store.ts'

/** One read of a pull, while there are guests here, and while there are none. */
const PULL_CHUNK_BYTES_MIN = 64 * KiB
const PULL_CHUNK_BYTES_MAX = 256 * KiB
/** Reads of one pull that are under way together, so that neither the device nor the network waits for the other. */
const PULL_CHUNKS_AHEAD = 4

export class LocalStore implements NodeStore {
  readonly node: NodeId
  private readonly store: ExtentStore
  private readonly stores: () => NodeStores
  private readonly guests: GuestActivity
  private readonly bulk: BulkWork
  private readonly makeRoom: (bytes: number) => Promise<void>

  /** @param makeRoom gives up partial copies so that `bytes` have room on SSD, as far as that goes. Never rejects. */
  constructor(
    node: NodeId,
    store: ExtentStore,
    stores: () => NodeStores,
    guests: GuestActivity,
    bulk: BulkWork,
    makeRoom: (bytes: number) => Promise<void>,
  ) {
    this.node = node
    this.store = store
    this.stores = stores
    this.guests = guests
    this.bulk = bulk
    this.makeRoom = makeRoom
  }

  async createCopy(copy: NewCopy): Promise<void> {
    if (copy.tier === 'ssd') await this.makeRoom(copy.roomBytes ?? EGROUP_BYTES)
    await this.store.createCopy(copy)
  }

  append(request: AppendRequest): Promise<void> {
    // Some guest's, here or on another node.
    this.guests.ios++
    return this.store.append(request)
  }

  syncCopy(egroup: EgroupId): Promise<void> {
    return this.store.syncCopy(egroup)
  }

  fence(egroup: EgroupId, generation: Generation): Promise<{ length: number; state: CopyState }> {
    return this.store.fence(egroup, generation)
  }

  seal(egroup: EgroupId, generation: Generation, length: number): Promise<void> {
    return this.store.seal(egroup, generation, length)
  }

  async copyInfo(egroup: EgroupId): Promise<CopyInfo | undefined> {
    return this.store.info(egroup)
  }

  readSlots(egroup: EgroupId, slots: readonly SlotIndex[]): Promise<SliceRead[]> {
    return this.store.readSlots(egroup, slots)
  }

  readLog(egroup: EgroupId, offset: number, length: number): Promise<Uint8Array> {
    return this.store.readLog(egroup, offset, length)
  }

  doneWith(log: Uint8Array): void {
    this.store.doneWith(log)
  }

  slots(egroup: EgroupId): Promise<SlotSummary[]> {
    return this.store.slots(egroup)
  }

  dropCopy(egroup: EgroupId): Promise<void> {
    return this.store.dropCopy(egroup)
  }

  dropPartial(egroup: EgroupId): Promise<void> {
    return this.store.dropPartial(egroup)
  }

  compact(egroup: EgroupId, live: Bitset): Promise<{ freedBytes: number }> {
    return this.store.compact(egroup, live)
  }

  repairSlot(egroup: EgroupId, slice: StoredSlice): Promise<void> {
    return this.store.repairSlot(egroup, slice)
  }

  scrub(egroup: EgroupId): Promise<ScrubReport> {
    return this.store.scrub(egroup)
  }

  moveTier(egroup: EgroupId, tier: Tier): Promise<{ movedBytes: number }> {
    return this.store.moveTier(egroup, tier)
  }

  async pull(request: PullRequest): Promise<{ bytes: number }> {
    const source = this.stores().of(request.from)
    const info = await source.copyInfo(request.egroup)
    if (info === undefined || info.kind !== 'full' || info.state !== 'sealed') {
      throw new HitherError('COPY_MISSING', `${request.from} has no sealed copy of egroup ${request.egroup}`)
    }
    const { egroup, stream, generation, tier } = request
    if (tier === 'ssd') await this.makeRoom(info.length)
    await this.store.importCopy(
      { egroup, stream, generation, tier, length: info.length },
      readInChunks(source, egroup, info.length, this.bulk),
    )
    return { bytes: info.length }
  }
}

/** In order, read ahead; a chunk is gone when the next is asked for. Ends when none of its reads is under way any more. */
async function* readInChunks(
  source: NodeStore,
  egroup: EgroupId,
  length: number,
  bulk: BulkWork,
): AsyncIterable<Uint8Array> {
  const ahead: Promise<Uint8Array>[] = []
  let at = 0
  try {
    while (at < length || ahead.length > 0) {
      const most = bulk.hasGuests ? PULL_CHUNK_BYTES_MIN : PULL_CHUNK_BYTES_MAX
      for (; at < length && ahead.length < PULL_CHUNKS_AHEAD; at += most) {
        const read = source.readLog(egroup, at, Math.min(most, length - at))
        // One that fails before its turn is heard of then.
        read.catch(() => {})
        ahead.push(read)
      }
      const chunk = await ahead.shift()!
      yield chunk
      source.doneWith(chunk)
    }
  } finally {
    await Promise.allSettled(ahead)
  }
}
