/**
 * One controller: everything between the doors and the devices of one node, composed.
 *
 *   port (IO)  →  router: vDisk owned here → vdisk/; else → the owner's CVM over RPC
 *   peers      →  replication/peer-wire.ts on this node's extent store
 *   catalog    →  cluster/: membership, records; replication/directory.ts
 *
 * The same class runs embedded, served and simulated; it touches only its `Platform`.
 * `start` recovers the node's devices, brings its copies in line with the directory, and only then takes the lease.
 * `stop` drains; `kill` is a crash: nothing is written any more.
 */
import type { AllocationRun } from '../api.ts'
import { asHitherError, HitherError } from '../base/errors.ts'
import { MiB, type NodeId, type VDiskId } from '../base/units.ts'
import { IdAllocator } from '../cluster/ids.ts'
import { Membership } from '../cluster/membership.ts'
import type { ContainerRecord, EgroupRecord, OwnerRecord, VDiskRecord, VmRecord } from '../cluster/records.ts'
import { keys, lastPart } from '../cluster/records.ts'
import { RecordsView } from '../cluster/records-view.ts'
import { Curator } from '../curator/curator.ts'
import { CandidateIndex } from '../dedupe/candidate-index.ts'
import { ExtentStore } from '../extent-store/extent-store.ts'
import { createLocalityPolicy } from '../locality/create-policy.ts'
import { HeatTable, TouchWindow } from '../locality/heat.ts'
import { Mover } from '../locality/mover.ts'
import { type BulkWork, bulkWork } from '../platform/bulk-work.ts'
import type { Platform } from '../platform/types.ts'
import { Directory } from '../replication/directory.ts'
import { LocalStore } from '../replication/local-store.ts'
import type { NodeStore, NodeStores } from '../replication/node-store.ts'
import { PeerStore, servePeers } from '../replication/peer-wire.ts'
import { RpcEndpoint } from '../replication/rpc.ts'
import { SliceReader } from '../replication/slice-reader.ts'
import type { WriteAttempt } from '../vdisk/attempt-guard.ts'
import { BatchPool } from '../vdisk/batch.ts'
import { BlockCache } from '../vdisk/block-cache.ts'
import { IoCounters } from '../vdisk/counters.ts'
import { IdleCheckpoints } from '../vdisk/idle-checkpoints.ts'
import { PageCache } from '../vdisk/page-cache.ts'
import { ColdMoves } from './cold-moves.ts'
import { Completion } from './completion.ts'
import { CvmCounters } from './cvm-counters.ts'
import { FileServices } from './file-services.ts'
import { FingerprintGossip } from './fingerprint-gossip.ts'
import { Homing } from './homing.ts'
import { isHost, RemotePort, servePort } from './io-wire.ts'
import { Localiser } from './localiser.ts'
import { nearestNodes } from './nearest.ts'
import { OwnerPort } from './owner-port.ts'
import { Ownership } from './ownership.ts'
import { PartialCopies } from './partial-copies.ts'
import type { StoragePort, VDiskControl } from './port.ts'
import { ReclaimGuard } from './reclaim-guard.ts'
import { reconcile } from './reconcile.ts'
import type { CvmSettings, EmitEvent } from './settings.ts'
import { isShort, Space, usageOf } from './space.ts'
import { StartedParts } from './started-parts.ts'

/** Budget of the candidate index: at 12 to 16 bytes a fingerprint, 20 GiB of unique data. Bytes. */
const CANDIDATE_BYTES = 64 * MiB
/** An IO sent on to the owner that is not answered by then is tried again from the host. Milliseconds. */
const FORWARD_TIMEOUT_MS = 10_000

export class Cvm implements StoragePort {
  readonly node: NodeId
  readonly platform: Platform
  readonly settings: CvmSettings
  readonly store: ExtentStore
  readonly rpc: RpcEndpoint
  readonly membership: Membership
  readonly directory: Directory
  readonly stores: NodeStores
  readonly ids: IdAllocator
  readonly space: Space
  readonly reader: SliceReader
  readonly ownership: Ownership
  readonly homing: Homing
  readonly curator: Curator
  private readonly fileServices: FileServices
  private readonly ownerPort: OwnerPort
  private readonly heat = new HeatTable()
  private readonly partials: PartialCopies
  private readonly bulk: BulkWork
  private readonly localiser: Localiser
  readonly mover: Mover
  private readonly coldMoves: ColdMoves
  readonly gossip: FingerprintGossip
  readonly reclaimGuard = new ReclaimGuard()
  readonly candidates = new CandidateIndex(CANDIDATE_BYTES)
  readonly cache: BlockCache
  readonly pages: PageCache
  readonly counters = new IoCounters()
  readonly events = new CvmCounters()
  readonly vdisks: RecordsView<VDiskRecord>
  readonly owners: RecordsView<OwnerRecord>
  readonly vms: RecordsView<VmRecord>
  readonly containers: RecordsView<ContainerRecord>
  private readonly emit: EmitEvent
  private readonly remotePorts = new Map<NodeId, RemotePort>()
  private dead: HitherError | undefined

  private constructor(parts: {
    platform: Platform
    bulk: BulkWork
    settings: CvmSettings
    emit: EmitEvent
    rpc: RpcEndpoint
    store: ExtentStore
    membership: Membership
    directory: Directory
    vdisks: RecordsView<VDiskRecord>
    owners: RecordsView<OwnerRecord>
    vms: RecordsView<VmRecord>
    containers: RecordsView<ContainerRecord>
  }) {
    const { platform, bulk, settings, emit, store, membership, directory } = parts
    this.platform = platform
    this.bulk = bulk
    this.node = platform.node
    this.settings = settings
    this.cache = new BlockCache(settings.cacheBytes)
    this.pages = new PageCache(settings.mapBytes)
    this.emit = emit
    this.store = store
    this.membership = membership
    this.directory = directory
    this.vdisks = parts.vdisks
    this.owners = parts.owners
    this.vms = parts.vms
    this.containers = parts.containers
    this.rpc = parts.rpc
    this.partials = new PartialCopies({
      store,
      directory,
      heat: this.heat,
      clock: platform.clock,
      counters: this.events,
      onChanged: () => this.space.changed(),
    })
    this.stores = this.makeStores()
    this.ids = new IdAllocator(platform.catalog)
    this.space = new Space(membership, store, platform.clock, platform.random)
    this.gossip = new FingerprintGossip(this.rpc, membership, platform.clock, this.candidates)
    const nearest = (record: EgroupRecord) => nearestNodes(record, membership)
    this.reader = new SliceReader({
      stores: this.stores,
      directory,
      nearest,
      holdsLocally: (egroup) => store.info(egroup) !== undefined,
      onCorrupt: (egroup, node, slots) => {
        this.events.corruptSlices += slots.length
        emit({ type: 'copy-corrupt', egroup, node })
      },
      onRepaired: (egroup, node, slices) => {
        this.events.repairedSlices += slices
        emit({ type: 'copy-repaired', egroup, node, slices })
      },
    })
    const { clock } = platform
    const mover = new Mover({ stores: this.stores, store, directory, catalog: platform.catalog, clock, bulk })
    this.mover = mover
    const policy = createLocalityPolicy(settings.localityPolicy)
    const touches = new TouchWindow()
    const onError = (where: string, error: unknown) => this.reportError(where, error)
    this.localiser = new Localiser({
      policy,
      store,
      partials: this.partials,
      completion: new Completion({
        policy,
        store,
        stores: this.stores,
        directory,
        membership,
        space: this.space,
        mover,
        clock,
        heat: this.heat,
        touches,
        counters: this.events,
        emit,
        ownerOf: (stream) => this.ownership.serverOf(stream),
        onError,
      }),
      heat: this.heat,
      touches,
      clock,
      ownedVDisk: (vdisk) => this.ownership.get(vdisk),
      onError,
    })
    this.ownership = new Ownership({
      platform,
      membership,
      directory,
      stores: this.stores,
      ids: this.ids,
      space: this.space,
      rpc: this.rpc,
      vdisks: this.vdisks,
      owners: this.owners,
      containers: this.containers,
      nearest,
      emit,
      // One that could not be taken over at first is brought home late, too.
      onActivated: () => this.homing.look(),
      services: {
        catalog: platform.catalog,
        clock: platform.clock,
        packer: platform.packer,
        reader: this.reader,
        cache: this.cache,
        pages: this.pages,
        candidates: this.candidates,
        batches: new BatchPool(),
        idleCheckpoints: new IdleCheckpoints(bulk),
        counters: this.counters,
        assertCanServe: () => membership.assertCanServe(),
        streamOf: (egroup) => directory.streamOf(egroup),
        onHit: (egroup, ref) => this.reclaimGuard.note(egroup, ref),
        onFingerprints: (hi, lo, egroup, ref) => this.gossip.add(hi, lo, egroup, ref),
        observer: this.localiser,
        makeRoom: () => this.makeRoom(),
        onDeposed: () => {},
        onError: (where, error) => this.reportError(where, error),
      },
    })
    this.homing = new Homing(
      {
        ownership: this.ownership,
        membership,
        vms: this.vms,
        clock: platform.clock,
        onError: (where, error) => this.reportError(where, error),
      },
      settings.holdDownMs,
    )
    this.fileServices = new FileServices({
      platform,
      membership,
      vdisks: this.vdisks,
      space: this.space,
      port: this,
      handOver: (vdisk, to) => this.ownership.handOver(vdisk, to),
      onError: (where, error) => this.reportError(where, error),
    })
    this.ownerPort = new OwnerPort(this.ownership, platform, this.fileServices)
    this.coldMoves = new ColdMoves({
      store,
      directory,
      membership,
      rpc: this.rpc,
      mover,
      clock,
      heat: this.heat,
      ownership: this.ownership,
      counters: this.events,
      emit,
    })
    this.curator = this.makeCurator()
  }

  /** `onLost` is called when the lease ran out: the instance serves nothing any more and has to be replaced. */
  static async start(
    platform: Platform,
    settings: CvmSettings,
    emit: EmitEvent,
    onLost: () => void,
  ): Promise<Cvm> {
    const parts = new StartedParts()
    try {
      return await Cvm.bringUp(platform, settings, emit, onLost, parts)
    } catch (error) {
      await parts.endAll()
      throw error
    }
  }

  private static async bringUp(
    platform: Platform,
    settings: CvmSettings,
    emit: EmitEvent,
    onLost: () => void,
    parts: StartedParts,
  ): Promise<Cvm> {
    let cvm: Cvm | undefined
    const { catalog, clock, guests, network, node, random } = platform
    // First of all, so that a call that comes early hears that this CVM is not up, instead of nothing.
    const rpc = await parts.add(new RpcEndpoint(network, clock, random.u32()), (part) => part.close())
    let opened: ExtentStore | undefined
    const bulk = bulkWork(clock, guests, () => opened !== undefined && isShort(usageOf(opened)))
    const opening = ExtentStore.open({
      node,
      devices: platform.devices,
      bulk,
      onDeviceFailed: (device) => {
        emit({ type: 'device-failed', node, device })
        void cvm?.deviceFailed()
      },
    })
    const store = await parts.add(opening, (part) => part.close())
    opened = store
    const close = (part: { close(): void }) => part.close()
    const view = <T>(prefix: string) => parts.add(RecordsView.open<T>(catalog, prefix), close)
    const [membership, directory, vdisks, owners, vms, containers] = await Promise.all([
      parts.add(Membership.open(platform, settings.leaseTtlMs, onLost), (part) => part.leave()),
      parts.add(Directory.open(catalog), close),
      view<VDiskRecord>('vdisk/'),
      view<OwnerRecord>('owner/'),
      view<VmRecord>('vm/'),
      view<ContainerRecord>('container/'),
    ])
    cvm = new Cvm({
      platform,
      bulk,
      settings,
      emit,
      rpc,
      store,
      membership,
      directory,
      vdisks,
      owners,
      vms,
      containers,
    })
    await parts.add(cvm, (part) => part.kill(new HitherError('CVM_DOWN', `the CVM of ${node} did not start`)))
    const { lostCopies } = await reconcile(node, store, directory, true)
    cvm.serve()
    rpc.open()
    await cvm.curator.prepare()
    await membership.join()
    // Peers go by the size of the devices until they hear.
    const { space } = cvm
    await space.publish().catch(() => space.changed())
    cvm.watch()
    cvm.curator.start()
    emit({ type: 'cvm-started', node, lostCopies })
    return cvm
  }

  // The port: IO from this node's host, or from a host whose path was switched here. Routed to the owner.

  read(vdisk: VDiskId, offset: number, target: Uint8Array): Promise<void> | undefined {
    this.platform.guests.ios++
    const owned = this.ownership.get(vdisk)
    if (owned !== undefined) return owned.readInto(offset, target)
    return this.route(vdisk, async (port) => port.read(vdisk, offset, target))
  }

  write(
    vdisk: VDiskId,
    offset: number,
    data: Uint8Array,
    sync: boolean,
    attempt: WriteAttempt,
  ): Promise<void> {
    this.platform.guests.ios++
    const owned = this.ownership.get(vdisk)
    if (owned !== undefined) return owned.write(offset, data, sync, attempt)
    return this.route(vdisk, (port) => port.write(vdisk, offset, data, sync, attempt))
  }

  erase(vdisk: VDiskId, offset: number, length: number, sync: boolean, attempt: WriteAttempt): Promise<void> {
    this.platform.guests.ios++
    const owned = this.ownership.get(vdisk)
    if (owned !== undefined) return owned.erase(offset, length, sync, attempt)
    return this.route(vdisk, (port) => port.erase(vdisk, offset, length, sync, attempt))
  }

  flush(vdisk: VDiskId): Promise<void> {
    const owned = this.ownership.get(vdisk)
    if (owned !== undefined) return owned.flush()
    return this.route(vdisk, (port) => port.flush(vdisk))
  }

  allocation(vdisk: VDiskId, offset: number, length: number): Promise<AllocationRun[]> {
    return this.route(vdisk, (port) => port.allocation(vdisk, offset, length))
  }

  control(vdisk: VDiskId, request: VDiskControl): Promise<unknown> {
    return this.route(vdisk, (port) => port.control(vdisk, request))
  }

  files(vdisk: VDiskId, request: Uint8Array): Promise<Uint8Array> {
    return this.route(vdisk, (port) => port.files(vdisk, request))
  }

  /** Serves no new IO, drains and checkpoints; goes on to keep copies for the peers that drain meanwhile. */
  async drain(): Promise<void> {
    this.homing.close()
    await this.curator.stop()
    await this.ownership.drainAll()
  }

  /** Drains, gives the lease back, closes. */
  async stop(): Promise<void> {
    await this.drain()
    await this.reader.settle()
    this.localiser.close()
    this.coldMoves.stop()
    this.gossip.close()
    this.space.close()
    await this.membership.leave()
    this.end(new HitherError('CVM_DOWN', `the CVM of ${this.node} has stopped`))
    await this.store.close()
  }

  /** As a crash: in-memory state is gone. The platform under it must be dead already, so that nothing is written. */
  kill(reason: HitherError): void {
    this.homing.close()
    this.curator.kill()
    this.ownership.abandonAll(reason)
    this.localiser.close()
    this.coldMoves.stop()
    this.gossip.close()
    this.space.close()
    this.membership.close()
    this.end(reason)
  }

  reportError(where: string, cause: unknown): void {
    if (this.dead !== undefined) return
    const error = asHitherError(cause)
    this.emit({ type: 'error', where: `${this.node}: ${where}`, message: error.message, code: error.code })
  }

  private end(reason: HitherError): void {
    this.dead = reason
    this.fileServices.close()
    this.rpc.close()
    this.directory.close()
    for (const view of [this.vdisks, this.owners, this.vms, this.containers]) view.close()
  }

  /** For a write that found no room: `true` when it is worth another try. */
  private async makeRoom(): Promise<boolean> {
    const { guests } = this.platform
    guests.waitingForSpace++
    try {
      return await this.curator.makeRoom()
    } finally {
      guests.waitingForSpace--
    }
  }

  private makeStores(): NodeStores {
    const node = this.node
    const peers = new Map<NodeId, NodeStore>()
    const stores: NodeStores = {
      self: node,
      of: (other) => {
        let store = peers.get(other)
        if (store === undefined) {
          store =
            other === node
              ? new LocalStore(
                  node,
                  this.store,
                  () => stores,
                  this.platform.guests,
                  this.bulk,
                  (bytes) => this.partials.makeRoom(bytes),
                )
              : new PeerStore(this.rpc, other, this.settings.appendTimeoutMs)
          peers.set(other, store)
        }
        return store
      },
    }
    return stores
  }

  private makeCurator(): Curator {
    const { ownership } = this
    return new Curator(
      {
        platform: this.platform,
        bulk: this.bulk,
        membership: this.membership,
        directory: this.directory,
        store: this.store,
        stores: this.stores,
        ids: this.ids,
        rpc: this.rpc,
        reader: this.reader,
        candidates: this.candidates,
        notes: this.reclaimGuard,
        gossip: this.gossip,
        space: this.space,
        counters: this.events,
        emit: this.emit,
        onError: (where, error) => this.reportError(where, error),
        streams: {
          ids: () => [...ownership.owned()].map((vdisk) => vdisk.id),
          checkpoint: async (vdisk) => (await ownership.ensure(vdisk)).checkpointPastWrites(),
          rotate: async (vdisk) => (await ownership.ensure(vdisk)).stream.rotate(),
          activationsEnded: () => ownership.activationsEnded(),
          drop: (vdisk) => ownership.drop(vdisk),
        },
      },
      this.settings,
      { moveCold: () => this.coldMoves.run() },
    )
  }

  /** Answers peers from now on. */
  private serve(): void {
    servePeers(this.rpc, this.stores, this.directory)
    servePort(this.rpc, (from) => (isHost(from) ? this : this.ownerPort))
  }

  private watch(): void {
    this.membership.onChange(({ node, alive }) => {
      if (alive) return
      this.rpc.peerDown(node)
      void this.ownership.takeOverFrom(node)
    })
    this.vdisks.onChange((key, record) => {
      if (record !== undefined) return
      const vdisk = Number(lastPart(key))
      this.ownership.drop(vdisk)
      this.localiser.forget(vdisk)
    })
    this.owners.onChange((key, owner) => {
      if (owner?.node !== this.node) this.fileServices.forget(Number(lastPart(key)))
    })
    this.vms.onChange(() => this.homing.look())
    this.directory.onChange(() => this.space.changed())
    this.membership.onUsage((_node, usage) => {
      if (isShort(usage) && this.coldMoves.isDue()) this.curator.moveColdSoon()
    })
    // vDisks of nodes that were down before this CVM came up.
    const dead = new Set<NodeId>()
    for (const [, owner] of this.owners.all()) {
      if (!this.membership.isAlive(owner.value.node)) dead.add(owner.value.node)
    }
    // They may just be starting, as this one: they have the time that a silent CVM has.
    this.platform.clock.after(this.settings.leaseTtlMs, () => {
      for (const node of dead) if (!this.membership.isAlive(node)) void this.ownership.takeOverFrom(node)
    })
    this.homing.look()
  }

  private async deviceFailed(): Promise<void> {
    try {
      await reconcile(this.node, this.store, this.directory, false)
      await this.curator.deviceFailed()
      await reconcile(this.node, this.store, this.directory, false)
      await this.space.publish()
    } catch (error) {
      this.reportError('giving up the copies of a failed device', error)
    }
  }

  private async route<T>(vdisk: VDiskId, io: (port: StoragePort) => Promise<T>): Promise<T> {
    if (this.dead !== undefined) throw this.dead
    const server = this.ownership.serverOf(vdisk)
    if (server === undefined) {
      if ((await this.owners.refresh(keys.owner(vdisk))) === undefined) {
        throw new HitherError('NOT_FOUND', `there is no vDisk ${vdisk}`)
      }
      throw new HitherError('NOT_OWNER', `no CVM is up that could serve vDisk ${vdisk}`)
    }
    if (server !== this.node) return io(this.remotePort(server))
    await this.ownership.ensure(vdisk)
    return io(this.ownerPort)
  }

  private remotePort(node: NodeId): RemotePort {
    let port = this.remotePorts.get(node)
    if (port === undefined) {
      port = new RemotePort(this.rpc, node, FORWARD_TIMEOUT_MS)
      this.remotePorts.set(node, port)
    }
    return port
  }
}
