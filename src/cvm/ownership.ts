/**
 * Which vDisks this CVM serves: activation (takeover), hand-over, giving up.
 *
 * Activation, after a crash, a hang, a hand-over or a plain restart, is always the same five steps:
 *   1. compare-and-set owner = this node, generation + 1. When another node is recorded as owner, the same
 *      transaction requires that its lease is gone: it cannot be serving, since it counts its lease shorter.
 *   2. fence and seal the open egroups of the stream (replication/recover-stream.ts).
 *   3. load the root of the last checkpoint.
 *   4. replay the log behind it (vdisk/replay.ts).
 *   5. serve.
 * A crash in between leaves a higher generation and sealed egroups: the next activation starts over. So does one after
 * a compare-and-set that was not answered, whether it was applied or not.
 *
 * Hand-over, when a VM moves or its node is healthy again: stop new IO (callers retry), drain, checkpoint, seal,
 * then compare-and-set owner = the other node. It finds nothing to replay.
 */
import { asHitherError, codeOf, HitherError } from '../base/errors.ts'
import type { NodeId, VDiskId } from '../base/units.ts'
import type { IdAllocator } from '../cluster/ids.ts'
import type { Membership } from '../cluster/membership.ts'
import {
  type ContainerRecord,
  decodeRecord,
  type EgroupRecord,
  encodeRecord,
  keys,
  lastPart,
  type OwnerRecord,
  type RootRecord,
  type VDiskRecord,
} from '../cluster/records.ts'
import type { RecordsView } from '../cluster/records-view.ts'
import type { SpaceUse } from '../extent-store/types.ts'
import type { Platform } from '../platform/types.ts'
import type { Directory } from '../replication/directory.ts'
import { METHOD } from '../replication/methods.ts'
import type { NodeStores } from '../replication/node-store.ts'
import { recoverStream } from '../replication/recover-stream.ts'
import type { RpcEndpoint } from '../replication/rpc.ts'
import { StreamWriter } from '../replication/stream-writer.ts'
import type { VDiskServices } from '../vdisk/context.ts'
import { OwnedVDisk } from '../vdisk/owned-vdisk.ts'
import { replayStream } from '../vdisk/replay.ts'
import { recordNextOwner } from './next-owner.ts'
import type { EmitEvent } from './settings.ts'
import type { Space } from './space.ts'

/** Takeovers of one dead peer that run at the same time. */
const TAKEOVERS_AT_ONCE = 8
/** A target that does not confirm a hand-over in time activates at the first IO instead. Milliseconds. */
const ADOPT_TIMEOUT_MS = 10_000

export interface OwnershipDeps {
  readonly platform: Platform
  readonly membership: Membership
  readonly directory: Directory
  readonly stores: NodeStores
  readonly ids: IdAllocator
  readonly space: Space
  readonly rpc: RpcEndpoint
  readonly vdisks: RecordsView<VDiskRecord>
  readonly owners: RecordsView<OwnerRecord>
  readonly containers: RecordsView<ContainerRecord>
  readonly nearest: (record: EgroupRecord) => NodeId[]
  readonly services: VDiskServices
  /** A vDisk is served here from now on. */
  readonly onActivated: () => void
  readonly emit: EmitEvent
}

export class Ownership {
  private readonly deps: OwnershipDeps
  private readonly active = new Map<VDiskId, OwnedVDisk>()
  private readonly activating = new Map<VDiskId, Promise<OwnedVDisk>>()
  private readonly leaving = new Map<VDiskId, Promise<void>>()
  private readonly failures = new Map<VDiskId, HitherError>()
  private stopped: HitherError | undefined

  constructor(deps: OwnershipDeps) {
    this.deps = deps
    deps.rpc.handle(METHOD.adopt, async ({ vdisk }: { vdisk: VDiskId }) => {
      await this.ensure(vdisk)
      return {}
    })
    deps.rpc.handle(METHOD.handOver, async ({ vdisk, to }: { vdisk: VDiskId; to: NodeId }) => {
      await this.handOver(vdisk, to)
      return {}
    })
  }

  /** vDisks served here now. */
  owned(): IterableIterator<OwnedVDisk> {
    return this.active.values()
  }

  /** The vDisk, when it is served here. Synchronous: the hot path of every IO. */
  get(vdisk: VDiskId): OwnedVDisk | undefined {
    return this.active.get(vdisk)
  }

  /** The node that should serve the vDisk as far as this CVM knows; undefined when nobody can. */
  serverOf(vdisk: VDiskId): NodeId | undefined {
    const owner = this.deps.owners.value(keys.owner(vdisk))?.node
    if (owner === undefined) return undefined
    return this.deps.membership.isAlive(owner) ? owner : this.deps.membership.successorOf(owner)
  }

  /** Serves the vDisk here, activating it when this CVM is the one to do so; else `NOT_OWNER`. */
  ensure(vdisk: VDiskId): Promise<OwnedVDisk> {
    if (this.stopped !== undefined) return Promise.reject(this.stopped)
    const active = this.active.get(vdisk)
    if (active !== undefined) return Promise.resolve(active)
    let activation = this.activating.get(vdisk)
    if (activation === undefined) {
      activation = this.activate(vdisk)
        .catch((error: unknown) => {
          if (isMissingData(error)) this.failures.set(vdisk, error)
          throw error
        })
        .finally(() => this.activating.delete(vdisk))
      this.activating.set(vdisk, activation)
    }
    return activation
  }

  /** Why this CVM, the vDisk's owner, could not serve it when it tried last: acknowledged data cannot be found. */
  failureOf(vdisk: VDiskId): HitherError | undefined {
    return this.failures.get(vdisk)
  }

  /** Resolves when every activation that is under way now has ended. */
  async activationsEnded(): Promise<void> {
    await Promise.allSettled([...this.activating.values()])
  }

  /** Takes over everything that `dead` owned, if this CVM is its successor. */
  async takeOverFrom(dead: NodeId): Promise<void> {
    if (this.deps.membership.successorOf(dead) !== this.deps.membership.self) return
    const ids: VDiskId[] = []
    for (const [key, entry] of this.deps.owners.all()) {
      if (entry.value.node === dead) ids.push(Number(lastPart(key)))
    }
    const workers = Array.from({ length: TAKEOVERS_AT_ONCE }, async () => {
      for (let id = ids.pop(); id !== undefined; id = ids.pop()) {
        try {
          await this.ensure(id)
        } catch (error) {
          // It is tried again at the first IO; being told NOT_OWNER means that somebody else was faster.
          if (codeOf(error) !== 'NOT_OWNER' && this.stopped === undefined) {
            this.deps.services.onError(`takeover of vDisk ${id} from ${dead}`, error)
          }
        }
      }
    })
    await Promise.all(workers)
  }

  /** Moves a vDisk served here to another live CVM. */
  handOver(vdisk: VDiskId, to: NodeId): Promise<void> {
    const running = this.leaving.get(vdisk)
    if (running !== undefined) return running
    const work = this.moveOut(vdisk, to).finally(() => this.leaving.delete(vdisk))
    this.leaving.set(vdisk, work)
    return work
  }

  /** The vDisk was deleted: stop serving it. */
  drop(vdisk: VDiskId): void {
    this.failures.delete(vdisk)
    const active = this.active.get(vdisk)
    if (active === undefined) return
    this.active.delete(vdisk)
    active.abandon(new HitherError('NOT_FOUND', `vDisk ${active.name} was deleted`))
  }

  /** Another CVM owns it, or its log has no known end. */
  giveUp(vdisk: VDiskId): void {
    this.active.delete(vdisk)
  }

  /** Drains and checkpoints everything, for a clean stop. */
  async drainAll(): Promise<void> {
    const error = new HitherError('CVM_DOWN', 'this CVM is stopping')
    this.stopped = error
    await Promise.allSettled(this.activating.values())
    await Promise.allSettled([...this.active.values()].map((vdisk) => vdisk.drain()))
    this.active.clear()
  }

  /** Stops at once. */
  abandonAll(error: HitherError): void {
    this.stopped = error
    for (const vdisk of this.active.values()) vdisk.abandon(error)
    this.active.clear()
  }

  private async activate(id: VDiskId): Promise<OwnedVDisk> {
    const leaving = this.leaving.get(id)
    if (leaving !== undefined) await leaving.catch(() => {})
    const { platform, membership, directory, stores } = this.deps
    const startedAt = platform.clock.now()
    membership.assertCanServe()
    const claim = await this.claim(id)
    const policy = await this.policyOf(claim.record)
    const guard = { stream: id, revision: claim.revision }
    const egroups = await recoverStream(id, claim.generation, guard, { stores, directory })
    const rootEntry = await platform.catalog.get(keys.root(id))
    if (rootEntry === undefined) throw new HitherError('NOT_FOUND', `vDisk ${claim.record.name} was deleted`)
    const root = decodeRecord<RootRecord>(rootEntry.value)
    const lastOrder = egroups.at(-1)?.record.order ?? 0
    const stream = new StreamWriter(
      id,
      claim.generation,
      guard,
      policy,
      Math.max(lastOrder + 1, root.replay.order),
      this.streamDeps(),
    )
    const { candidates, onError, onDeposed } = this.deps.services
    const { vdisk, replayedFrames } = await OwnedVDisk.activate(
      {
        record: claim.record,
        policy,
        root,
        guard,
        generation: claim.generation,
        stream,
        replay: (map) =>
          replayStream(egroups, root.replay, {
            map,
            stores,
            nearest: this.deps.nearest,
            onFingerprint: (hi, lo, egroup, ref) => candidates.insert(hi, lo, egroup, ref),
            proceed: () => membership.assertCanServe(),
          }),
      },
      {
        ...this.deps.services,
        onError,
        onDeposed: (vdiskId, error) => {
          this.giveUp(vdiskId)
          onDeposed(vdiskId, error)
        },
      },
    )
    membership.assertCanServe()
    if (this.stopped !== undefined) {
      vdisk.abandon(this.stopped)
      throw this.stopped
    }
    this.active.set(id, vdisk)
    this.failures.delete(id)
    this.deps.onActivated()
    const from = claim.previous
    if (from !== membership.self || replayedFrames > 0) {
      this.deps.emit({
        type: 'takeover',
        vdisk: claim.record.name,
        from,
        to: membership.self,
        generation: claim.generation,
        replayedFrames,
        tookMs: round(platform.clock.now() - startedAt),
      })
    }
    return vdisk
  }

  /** Step 1 of a takeover. */
  private async claim(id: VDiskId) {
    const { platform, membership, owners } = this.deps
    const [vdiskEntry, ownerEntry] = await Promise.all([
      platform.catalog.get(keys.vdisk(id)),
      platform.catalog.get(keys.owner(id)),
    ])
    if (vdiskEntry === undefined || ownerEntry === undefined) {
      throw new HitherError('NOT_FOUND', `there is no vDisk ${id}`)
    }
    const owner = decodeRecord<OwnerRecord>(ownerEntry.value)
    const mine = owner.node === membership.self
    if (!mine && (membership.isAlive(owner.node) || membership.successorOf(owner.node) !== membership.self)) {
      throw new HitherError('NOT_OWNER', `${owner.node} owns vDisk ${id}, or another CVM takes it over`)
    }
    const next: OwnerRecord = { node: membership.self, generation: owner.generation + 1 }
    const result = await platform.catalog.commit({
      when: [
        { key: keys.owner(id), revision: ownerEntry.revision },
        ...(mine ? [] : [{ key: keys.lease(owner.node), revision: 0 }]),
      ],
      put: [{ key: keys.owner(id), value: encodeRecord(next) }],
    })
    if (!result.ok) throw new HitherError('NOT_OWNER', `another CVM has just become owner of vDisk ${id}`)
    owners.learn(keys.owner(id), next, result.revision)
    return {
      record: decodeRecord<VDiskRecord>(vdiskEntry.value),
      generation: next.generation,
      revision: result.revision,
      previous: owner.node,
    }
  }

  private async moveOut(id: VDiskId, to: NodeId): Promise<void> {
    const { platform, membership, owners } = this.deps
    if (to === membership.self) return
    if (!membership.isAlive(to))
      throw new HitherError('CVM_DOWN', `${to} is down and cannot take a vDisk over`)
    const activation = this.activating.get(id)
    if (activation !== undefined) await activation.catch(() => {})
    const startedAt = platform.clock.now()
    const vdisk = this.active.get(id)
    let generation: number
    let revision: number
    if (vdisk !== undefined) {
      this.active.delete(id)
      try {
        await vdisk.drain()
      } catch (error) {
        // What could not be drained is in the log; the new owner replays it.
        vdisk.abandon(asHitherError(error))
      }
      generation = vdisk.generation
      revision = vdisk.guard.revision
    } else {
      const entry = await owners.refresh(keys.owner(id))
      if (entry === undefined) throw new HitherError('NOT_FOUND', `there is no vDisk ${id}`)
      if (entry.value.node !== membership.self)
        throw new HitherError('NOT_OWNER', `${entry.value.node} owns vDisk ${id}`)
      generation = entry.value.generation
      revision = entry.revision
    }
    const next: OwnerRecord = { node: to, generation: generation + 1 }
    await recordNextOwner(platform.catalog, owners, id, revision, next)
    try {
      await this.deps.rpc.call(to, METHOD.adopt, { vdisk: id }, [], ADOPT_TIMEOUT_MS)
    } catch {
      // It activates the vDisk at the first IO, or its successor does.
    }
    this.deps.emit({
      type: 'handover',
      vdisk: vdisk?.name ?? this.deps.vdisks.value(keys.vdisk(id))?.name ?? String(id),
      from: membership.self,
      to,
      generation: next.generation,
      tookMs: round(platform.clock.now() - startedAt),
    })
  }

  private async policyOf(record: VDiskRecord): Promise<ContainerRecord> {
    const key = keys.container(record.container)
    const policy = this.deps.containers.value(key) ?? (await this.deps.containers.refresh(key))?.value
    if (policy === undefined) throw new HitherError('NOT_FOUND', `there is no container ${record.container}`)
    return policy
  }

  private streamDeps() {
    const { stores, directory, ids, space, emit, services } = this.deps
    return {
      stores,
      directory,
      ids,
      choose: (policy: ContainerRecord, avoid: ReadonlySet<NodeId>, use: SpaceUse) =>
        space.choose(policy, avoid, use),
      onSealedOnFailure: (egroup: number, dropped: readonly NodeId[]) =>
        emit({ type: 'egroup-sealed-on-failure', egroup, dropped }),
      onError: services.onError,
    }
  }
}

function isMissingData(error: unknown): error is HitherError {
  const code = codeOf(error)
  return code === 'DATA_UNAVAILABLE' || code === 'CHECKSUM_MISMATCH'
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10
}
