/**
 * The extent store of a node over RPC: `PeerStore` asks, `servePeers` answers.
 *
 * A request may arrive long after its caller has given up on it. Most bear that: they carry a generation and an offset,
 * or ask for what stays true (a slot that a reclaim found dead is never referred to again, see curator/reclaim.ts). To
 * drop a copy does not: the node may have got the copy again, and be listed for it. So the directory has the last word.
 */
import { Bitset } from '../base/bitset.ts'
import { HitherError } from '../base/errors.ts'
import type { EgroupId, Generation, NodeId, SlotIndex, Tier } from '../base/units.ts'
import type {
  AppendRequest,
  CopyInfo,
  CopyState,
  ScrubReport,
  SliceRead,
  SlotSummary,
  StoredSlice,
} from '../extent-store/types.ts'
import { decodeAppend, encodeAppend } from './append-wire.ts'
import type { Directory } from './directory.ts'
import { BULK_TIMEOUT_MS, CALL_TIMEOUT_MS, METHOD } from './methods.ts'
import type { NewCopy, NodeStore, NodeStores, PullRequest } from './node-store.ts'
import type { RpcEndpoint } from './rpc.ts'
import { decodeSliceReads, decodeSlotSummaries, encodeSliceReads, encodeSlotSummaries } from './slice-wire.ts'

const NOTHING: readonly Uint8Array[] = []

export class PeerStore implements NodeStore {
  readonly node: NodeId
  private readonly rpc: RpcEndpoint
  private readonly appendTimeoutMs: number

  constructor(rpc: RpcEndpoint, node: NodeId, appendTimeoutMs: number) {
    this.rpc = rpc
    this.node = node
    this.appendTimeoutMs = appendTimeoutMs
  }

  async createCopy(copy: NewCopy): Promise<void> {
    await this.rpc.call(this.node, METHOD.createCopy, copy, NOTHING, CALL_TIMEOUT_MS)
  }

  async append(request: AppendRequest): Promise<void> {
    const body = encodeAppend(request)
    await this.rpc.call(this.node, METHOD.append, undefined, body, this.appendTimeoutMs)
  }

  async syncCopy(egroup: EgroupId): Promise<void> {
    await this.rpc.call(this.node, METHOD.syncCopy, { egroup }, NOTHING, this.appendTimeoutMs)
  }

  async fence(egroup: EgroupId, generation: Generation): Promise<{ length: number; state: CopyState }> {
    const header = { egroup, generation }
    const answer = await this.rpc.call<{ length: number; state: CopyState }>(
      this.node,
      METHOD.fence,
      header,
      NOTHING,
      CALL_TIMEOUT_MS,
    )
    return answer.header
  }

  async seal(egroup: EgroupId, generation: Generation, length: number): Promise<void> {
    await this.rpc.call(this.node, METHOD.seal, { egroup, generation, length }, NOTHING, CALL_TIMEOUT_MS)
  }

  async copyInfo(egroup: EgroupId): Promise<CopyInfo | undefined> {
    const answer = await this.rpc.call<{ info?: CopyInfo }>(
      this.node,
      METHOD.copyInfo,
      { egroup },
      NOTHING,
      CALL_TIMEOUT_MS,
    )
    return answer.header.info
  }

  async readSlots(egroup: EgroupId, slots: readonly SlotIndex[]): Promise<SliceRead[]> {
    const answer = await this.rpc.call(
      this.node,
      METHOD.readSlots,
      { egroup, slots },
      NOTHING,
      CALL_TIMEOUT_MS,
    )
    return decodeSliceReads(answer.body, slots.length)
  }

  async readLog(egroup: EgroupId, offset: number, length: number): Promise<Uint8Array> {
    const header = { egroup, offset, length }
    return (await this.rpc.call(this.node, METHOD.readLog, header, NOTHING, CALL_TIMEOUT_MS)).body
  }

  doneWith(log: Uint8Array): void {
    this.rpc.giveBack(log)
  }

  async slots(egroup: EgroupId): Promise<SlotSummary[]> {
    const answer = await this.rpc.call(this.node, METHOD.slots, { egroup }, NOTHING, CALL_TIMEOUT_MS)
    return decodeSlotSummaries(answer.body)
  }

  async dropCopy(egroup: EgroupId): Promise<void> {
    await this.rpc.call(this.node, METHOD.dropCopy, { egroup }, NOTHING, CALL_TIMEOUT_MS)
  }

  async dropPartial(egroup: EgroupId): Promise<void> {
    await this.rpc.call(this.node, METHOD.dropPartial, { egroup }, NOTHING, CALL_TIMEOUT_MS)
  }

  async compact(egroup: EgroupId, live: Bitset): Promise<{ freedBytes: number }> {
    const answer = await this.rpc.call<{ freedBytes: number }>(
      this.node,
      METHOD.compact,
      { egroup },
      [live.toBytes()],
      BULK_TIMEOUT_MS,
    )
    return answer.header
  }

  async repairSlot(egroup: EgroupId, slice: StoredSlice): Promise<void> {
    const body = encodeSliceReads([{ status: 'ok', slice }])
    await this.rpc.call(this.node, METHOD.repairSlot, { egroup }, body, CALL_TIMEOUT_MS)
  }

  async scrub(egroup: EgroupId): Promise<ScrubReport> {
    const answer = await this.rpc.call<ScrubReport>(
      this.node,
      METHOD.scrub,
      { egroup },
      NOTHING,
      BULK_TIMEOUT_MS,
    )
    return answer.header
  }

  async moveTier(egroup: EgroupId, tier: Tier): Promise<{ movedBytes: number }> {
    const answer = await this.rpc.call<{ movedBytes: number }>(
      this.node,
      METHOD.moveTier,
      { egroup, tier },
      NOTHING,
      BULK_TIMEOUT_MS,
    )
    return answer.header
  }

  async pull(request: PullRequest): Promise<{ bytes: number }> {
    const answer = await this.rpc.call<{ bytes: number }>(
      this.node,
      METHOD.pull,
      request,
      NOTHING,
      BULK_TIMEOUT_MS,
    )
    return answer.header
  }
}

/** Answers peers' calls from `stores.of(self)`. A copy is dropped only while the directory does not list it. */
export function servePeers(
  rpc: RpcEndpoint,
  stores: NodeStores,
  directory: Pick<Directory, 'refresh'>,
): void {
  const store = stores.of(stores.self)
  rpc.handle(METHOD.createCopy, async (copy: NewCopy) => {
    await store.createCopy(copy)
    return {}
  })
  rpc.handleBorrowed(METHOD.append, async (_header, body) => {
    await store.append(decodeAppend(body))
    return {}
  })
  rpc.handle(METHOD.syncCopy, async (header: { egroup: EgroupId }) => {
    await store.syncCopy(header.egroup)
    return {}
  })
  rpc.handle(METHOD.fence, async (header: { egroup: EgroupId; generation: Generation }) => ({
    header: await store.fence(header.egroup, header.generation),
  }))
  rpc.handle(METHOD.seal, async (header: { egroup: EgroupId; generation: Generation; length: number }) => {
    await store.seal(header.egroup, header.generation, header.length)
    return {}
  })
  rpc.handle(METHOD.copyInfo, async (header: { egroup: EgroupId }) => {
    const info = await store.copyInfo(header.egroup)
    return { header: info === undefined ? {} : { info } }
  })
  rpc.handle(METHOD.readSlots, async (header: { egroup: EgroupId; slots: SlotIndex[] }) => ({
    body: encodeSliceReads(await store.readSlots(header.egroup, header.slots)),
  }))
  rpc.handle(METHOD.readLog, async (header: { egroup: EgroupId; offset: number; length: number }) => {
    const log = await store.readLog(header.egroup, header.offset, header.length)
    return { body: [log], sent: () => store.doneWith(log) }
  })
  rpc.handle(METHOD.slots, async (header: { egroup: EgroupId }) => ({
    body: [encodeSlotSummaries(await store.slots(header.egroup))],
  }))
  rpc.handle(METHOD.dropCopy, async (header: { egroup: EgroupId }) => {
    const entry = await directory.refresh(header.egroup)
    if (entry?.value.copies.some((copy) => copy.node === stores.self)) {
      throw new HitherError(
        'CONFLICT',
        `${stores.self} is listed for egroup ${header.egroup}: its copy stays`,
      )
    }
    await store.dropCopy(header.egroup)
    return {}
  })
  rpc.handle(METHOD.dropPartial, async (header: { egroup: EgroupId }) => {
    await store.dropPartial(header.egroup)
    return {}
  })
  rpc.handle(METHOD.compact, async (header: { egroup: EgroupId }, body) => ({
    header: await store.compact(header.egroup, Bitset.fromBytes(body)),
  }))
  rpc.handle(METHOD.repairSlot, async (header: { egroup: EgroupId }, body) => {
    const read = decodeSliceReads(body, 1)[0]!
    if (read.status === 'ok') await store.repairSlot(header.egroup, read.slice)
    return {}
  })
  rpc.handle(METHOD.scrub, async (header: { egroup: EgroupId }) => ({
    header: await store.scrub(header.egroup),
  }))
  rpc.handle(METHOD.moveTier, async (header: { egroup: EgroupId; tier: Tier }) => ({
    header: await store.moveTier(header.egroup, header.tier),
  }))
  rpc.handle(METHOD.pull, async (request: PullRequest) => ({ header: await store.pull(request) }))
}
