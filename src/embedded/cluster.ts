/**
 * A whole cluster inside one process: what `openCluster` returns. It composes a world (the real one, or a simulated one)
 * with one CVM per node, and offers the public API on top.
 * Every part that a cluster of machines would have apart is apart here too: a CVM can die, hang and come back alone.
 */
import type {
  Cluster,
  ClusterComponents,
  ClusterEvent,
  ClusterEventBody,
  ClusterSettings,
  ClusterStats,
  ClusterStatus,
  ContainerInfo,
  ContainerPolicy,
  CuratorReport,
  ExportOptions,
  FilePath,
  SnapshotInfo,
  StoragePath,
  VDisk,
  VDiskInfo,
  VDiskOptions,
} from '../api.ts'
import { BoundedEvents } from '../base/bounded-events.ts'
import { asHitherError, codeOf, HitherError } from '../base/errors.ts'
import { isHiddenDisk } from '../base/hidden-disks.ts'
import type { NodeId, Tier, VDiskId } from '../base/units.ts'
import { compareNodes, Membership } from '../cluster/membership.ts'
import {
  type ClusterRecord,
  type DeviceRecord,
  decodeRecord,
  encodeRecord,
  keys,
  type NodeRecord,
  type OwnerRecord,
  type VDiskRecord,
  type VmRecord,
} from '../cluster/records.ts'
import { RecordsView } from '../cluster/records-view.ts'
import { Administration, vdiskInfo } from '../cvm/administration.ts'
import type { Cvm } from '../cvm/cvm.ts'
import { FileAdministration } from '../cvm/file-administration.ts'
import { homeOf } from '../cvm/homing.ts'
import { METHOD } from '../replication/methods.ts'
import { FileDisks, isFileDisk } from './file-disks.ts'
import { HostFiles } from './host-files.ts'
import { EmbeddedNode } from './node.ts'
import { addNodeRecord, changeNodeRecord, removeNodeRecord } from './node-records.ts'
import { OpenDisks } from './open-disks.ts'
import { openRealWorld } from './real-world.ts'
import { cacheBytesHere, type ResolvedSettings, resolveSettings } from './settings.ts'
import { clusterSpace, clusterStats, clusterStatus, type View } from './stats.ts'
import type { World } from './world.ts'

const EVENTS_QUEUED_MAX = 4096
const HAND_OVER_TIMEOUT_MS = 30_000
/** Longest time that the end of a scan waits for CVMs to tell each other what they have free. Milliseconds. */
const TELL_MS = 500
/** How long `runCurator` waits for the scan of another CVM, and how often it looks. Milliseconds. */
const CURATOR_PATIENCE_MS = 300_000
const CURATOR_LOOK_MS = 100

/** Opens, or creates, a cluster at `memory:` or `file:DIR`. */
export async function openEmbedded(
  location: string,
  settings: ClusterSettings,
  components: ClusterComponents,
): Promise<EmbeddedCluster> {
  const resolved = resolveSettings({ ...settings, cacheBytes: settings.cacheBytes ?? cacheBytesHere() })
  return openIn(await openRealWorld(location, components.seed, resolved.packThreads), location, resolved)
}

/** Opens, or creates, the cluster of a world. The world is closed with it, also when it does not open. */
export async function openIn(
  world: World,
  location: string,
  settings: ResolvedSettings,
): Promise<EmbeddedCluster> {
  const cluster = new EmbeddedCluster(location, settings, world)
  try {
    await cluster.start()
  } catch (error) {
    await cluster.close()
    throw error
  }
  return cluster
}

export class EmbeddedCluster implements Cluster {
  readonly location: string
  private readonly settings: ResolvedSettings
  private readonly world: World
  private readonly members = new Map<NodeId, EmbeddedNode>()
  private readonly log: BoundedEvents<ClusterEvent>
  private readonly administration: Administration
  private readonly fileAdministration: FileAdministration
  private observer!: Membership
  private vdisks!: RecordsView<VDiskRecord>
  private owners!: RecordsView<OwnerRecord>
  private vms!: RecordsView<VmRecord>
  private openDisks!: OpenDisks
  private hostFiles!: HostFiles
  /** vDisks of files that are just going to another home. */
  private readonly following = new Set<VDiskId>()
  private fileDisks!: FileDisks
  private nodesPerBlock = 1
  private closing: Promise<void> | undefined

  constructor(location: string, settings: ResolvedSettings, world: World) {
    this.location = location
    this.settings = settings
    this.world = world
    this.log = new BoundedEvents<ClusterEvent>(EVENTS_QUEUED_MAX, (count) =>
      this.stamp({ type: 'events-lost', count }),
    )
    this.administration = new Administration({
      catalog: world.catalog,
      random: world.random,
      control: (vdisk, request) =>
        (this.homeMember(vdisk) ?? this.anyMember()).path.run((port) => port.control(vdisk, request)),
      handOver: (vdisk, to) => this.handOver(vdisk, to),
    })
    this.fileAdministration = new FileAdministration({
      catalog: world.catalog,
      administration: this.administration,
      handOver: (vdisk, to) => this.handOver(vdisk, to),
    })
  }

  async start(): Promise<void> {
    const { catalog, clock, random } = this.world
    const existing = await catalog.get(keys.cluster)
    if (existing === undefined) await this.format()
    else this.nodesPerBlock = decodeRecord<ClusterRecord>(existing.value).nodesPerBlock
    const platform = { node: 'observer', clock, random, catalog }
    this.observer = await Membership.open(platform, this.settings.leaseTtlMs, () => {})
    this.vdisks = await RecordsView.open<VDiskRecord>(catalog, 'vdisk/')
    this.owners = await RecordsView.open<OwnerRecord>(catalog, 'owner/')
    this.vms = await RecordsView.open<VmRecord>(catalog, 'vm/')
    this.openDisks = new OpenDisks({
      clock,
      administration: this.administration,
      vdisks: this.vdisks,
      owners: this.owners,
      incarnation: this.observer.incarnation,
      homePath: (vdisk) => this.homeMember(vdisk)?.path,
    })
    this.vms.onChange(() => this.openDisks.followVms())
    const openDisk = (node: NodeId, vdisk: VDiskId, size: () => number) =>
      this.openDisks.openForFile(this.member(node).path, vdisk, size)
    this.hostFiles = new HostFiles({
      administration: this.administration,
      fileAdministration: this.fileAdministration,
      clock,
      random,
      owners: this.owners,
      openDisk,
      onUsed: (node, vdisk) => this.follow(node, vdisk),
      space: () => clusterSpace(this.view()),
    })
    this.fileDisks = new FileDisks({
      containers: () => this.administration.listContainers(),
      fileSystem: (node, container) => this.hostFiles.fileSystem(node, this.member(node).path, container),
      info: (vdisk) => this.infoOf(vdisk),
      names: () => [...this.vdisks.all()].map(([, entry]) => entry.value.name),
      openDisk,
    })
    for (const record of this.observer.members()) this.addMember(record)
    await Promise.all([...this.members.values()].map((member) => member.start()))
    await this.openPaths(this.members.values())
  }

  get nodes(): readonly NodeId[] {
    return [...this.members.keys()].sort(compareNodes)
  }

  async createVDisk(name: string, options: VDiskOptions): Promise<VDisk> {
    this.assertOpen()
    await this.administration.createVDisk(name, options)
    return this.openAtHome(name)
  }

  async openVDisk(name: string, options?: { via?: NodeId }): Promise<VDisk> {
    this.assertOpen()
    if (isFileDisk(name)) return this.fileDisks.open(this.hostOr(options?.via), name)
    if (options?.via === undefined) return this.openAtHome(name)
    const info = await this.administration.vdiskInfo(name)
    return this.openDisks.open(info, this.member(options.via).path, true)
  }

  async deleteVDisk(name: string): Promise<void> {
    this.assertOpen()
    if (isFileDisk(name)) return this.fileDisks.remove(this.hostOr(undefined), name)
    const { id } = await this.administration.vdiskInfo(name)
    const users = this.openDisks.usersOf(name)
    if (users > 0) {
      throw new HitherError('IN_USE', `vDisk ${name} is open (${users} handles); close them first`)
    }
    await this.administration.deleteVDisk(name)
    this.openDisks.forget(id)
  }

  async listVDisks(): Promise<VDiskInfo[]> {
    this.assertOpen()
    const [disks, files] = await Promise.all([
      this.administration.listVDisks(),
      this.fileDisks.list(this.hostOr(undefined)),
    ])
    return [...disks, ...files].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async vdiskInfo(name: string): Promise<VDiskInfo> {
    this.assertOpen()
    if (isFileDisk(name)) return this.fileDisks.infoOf(this.hostOr(undefined), name)
    return this.administration.vdiskInfo(name)
  }

  async cloneVDisk(
    source: string,
    name: string,
    options: { snapshot?: string; vm?: string; node?: NodeId } = {},
  ): Promise<VDisk> {
    this.assertOpen()
    await this.administration.cloneVDisk(source, name, options)
    return this.openAtHome(name)
  }

  async listSnapshots(vdisk: string): Promise<SnapshotInfo[]> {
    this.assertOpen()
    return this.administration.listSnapshots(vdisk)
  }

  async deleteSnapshot(vdisk: string, name: string): Promise<void> {
    this.assertOpen()
    return this.administration.deleteSnapshot(vdisk, name)
  }

  async createContainer(
    name: string,
    policy: Partial<ContainerPolicy> & { export?: Partial<ExportOptions> } = {},
  ): Promise<ContainerInfo> {
    this.assertOpen()
    return this.administration.createContainer(name, policy, this.members.size)
  }

  async listContainers(): Promise<ContainerInfo[]> {
    this.assertOpen()
    return this.administration.listContainers()
  }

  async exportContainer(name: string, options: Partial<ExportOptions> = {}): Promise<ContainerInfo> {
    this.assertOpen()
    const info = await this.fileAdministration.setExport(name, options)
    await this.fileAdministration.filesDisk(name)
    this.hostFiles.exportChanged()
    return info
  }

  async unexportContainer(name: string): Promise<ContainerInfo> {
    this.assertOpen()
    const users = this.fileDisks.usersOf(name)
    if (users > 0) {
      throw new HitherError(
        'IN_USE',
        `${users} files of container ${name} are open as disks; close them first`,
      )
    }
    const info = await this.fileAdministration.setExport(name, undefined)
    await this.hostFiles.unexported(name)
    return info
  }

  async listVms(): Promise<Array<{ readonly name: string; readonly node: NodeId }>> {
    this.assertOpen()
    return this.administration.listVms()
  }

  async migrateVm(vm: string, options: { to: NodeId }): Promise<void> {
    this.assertOpen()
    const from = await this.administration.migrateVm(vm, options.to)
    if (from !== options.to) this.emit({ type: 'vm-migrated', vm, from, to: options.to })
  }

  async failCvm(node: NodeId, options?: { hang?: boolean }): Promise<void> {
    this.assertOpen()
    await this.member(node).fail(options?.hang === true)
  }

  async recoverCvm(node: NodeId): Promise<void> {
    this.assertOpen()
    await this.member(node).recover()
  }

  async addNode(options: { ssdBytes?: number; hddBytes?: number } = {}): Promise<NodeId> {
    this.assertOpen()
    const sizes = resolveSettings({ ...this.settings, ...options })
    const last = this.nodes.at(-1)
    const number = last === undefined ? 1 : Number(/\d+$/.exec(last)![0]) + 1
    const record = nodeRecord(number, sizes.ssdBytes, sizes.hddBytes, this.nodesPerBlock)
    await addNodeRecord(this.world.catalog, record)
    const member = this.addMember(record)
    await member.start()
    await this.openPaths([member])
    this.emit({ type: 'node-added', node: record.node })
    return record.node
  }

  async removeNode(node: NodeId): Promise<void> {
    this.assertOpen()
    const member = this.member(node)
    // Without a record an earlier attempt has come to its end, and did not hear of it.
    if ((await this.world.catalog.get(keys.node(node))) !== undefined) {
      await this.leader(node).whileUp((cvm) => cvm.curator.drainNode(node))
    }
    await this.hostFiles.leave(node)
    await this.openDisks.leave(node, () => this.leader(node).path)
    await member.stop()
    await removeNodeRecord(this.world.catalog, node)
    await member.close()
    this.members.delete(node)
    this.emit({ type: 'node-removed', node })
  }

  async failDevice(device: string): Promise<void> {
    this.assertOpen()
    const node = device.slice(0, Math.max(0, device.lastIndexOf('.')))
    const member = this.members.get(node)
    if (member === undefined) throw new HitherError('NOT_FOUND', `there is no device ${device}`)
    const devices = member.failDevice(device)
    await changeNodeRecord(this.world.catalog, node, (record) =>
      record === undefined || JSON.stringify(record.devices) === JSON.stringify(devices)
        ? record
        : { ...record, devices },
    )
  }

  async runCurator(): Promise<CuratorReport> {
    this.assertOpen()
    const until = this.world.clock.now() + CURATOR_PATIENCE_MS
    for (;;) {
      try {
        const report = await this.leader().whileUp((cvm) => cvm.curator.runAll())
        await this.tellSpace()
        return report
      } catch (error) {
        // Another CVM's scan, which began before the one that leads now was back.
        if (codeOf(error) !== 'CONFLICT' || this.world.clock.now() > until) throw error
      }
      await this.world.clock.sleep(CURATOR_LOOK_MS)
    }
  }

  /**
   * Whoever waited for a scan counts on the space that it got back: each CVM hears at once what the others have free. One
   * that stands still, or dies, is not waited for.
   */
  private async tellSpace(): Promise<void> {
    const told = this.everyCvm((cvm) => cvm.space.publish())
    const heard = told.then(() => this.everyCvm((cvm) => cvm.membership.hearUsage()))
    const patience = new AbortController()
    await Promise.race([heard, this.world.clock.sleep(TELL_MS, patience.signal).catch(() => {})])
    patience.abort()
  }

  /** Does `work` on every CVM that is up; whatever comes of it. */
  private async everyCvm(work: (cvm: Cvm) => Promise<void>): Promise<void> {
    await Promise.allSettled([...this.members.values()].map((member) => member.whileUp(work)))
  }

  path(node: NodeId): StoragePath {
    const member = this.member(node)
    return {
      node,
      listVDisks: () => this.listVDisks(),
      openVDisk: async (name) => {
        this.assertOpen()
        if (isFileDisk(name)) return this.fileDisks.open(node, name)
        return this.openDisks.open(await this.administration.vdiskInfo(name), member.path, true)
      },
    }
  }

  files(node: NodeId): FilePath {
    return this.hostFiles.pathOf(node, this.member(node).path)
  }

  events(options?: { signal?: AbortSignal }): AsyncIterable<ClusterEvent> {
    return this.log.subscribe(options?.signal)
  }

  /** The CVM of a node, for whoever checks the cluster from the inside; `undefined` while it is down. */
  cvm(node: NodeId): Cvm | undefined {
    return this.members.get(node)?.cvm
  }

  /** The CVM of a node stands still until the function that is returned is called; for tests. `NOT_FOUND`. */
  pauseCvm(node: NodeId): () => void {
    return this.member(node).pause()
  }

  stats(): ClusterStats {
    return clusterStats(this.view())
  }

  status(): ClusterStatus {
    return clusterStatus(this.view())
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown()
    return this.closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private async shutDown(): Promise<void> {
    await this.hostFiles?.close()
    await this.openDisks?.close()
    // The hosts go first: a CVM that stops now is no reason to switch a path.
    for (const member of this.members.values()) await member.close()
    // All drain before the first one leaves: what they append last is to have RF copies, too.
    await Promise.allSettled([...this.members.values()].map((member) => member.drain()))
    await Promise.allSettled([...this.members.values()].map((member) => member.stop()))
    this.observer?.close()
    this.vdisks?.close()
    this.owners?.close()
    this.vms?.close()
    this.log.close()
    await this.world.close()
  }

  /** First start: the settings of the call become the cluster. */
  private async format(): Promise<void> {
    const { nodes, rf, ssdBytes, hddBytes, nodesPerBlock } = this.settings
    this.nodesPerBlock = nodesPerBlock
    const cluster: ClusterRecord = { version: 1, nodesPerBlock }
    const records = Array.from({ length: nodes }, (_, i) =>
      nodeRecord(i + 1, ssdBytes, hddBytes, nodesPerBlock),
    )
    // Only this machine may mount it, and its root is root here, as hypervisors need it.
    await this.administration.createContainer('default', { rf, export: { squash: 'none' } }, nodes)
    await this.world.catalog.commit({
      when: [{ key: keys.cluster, revision: 0 }],
      put: [
        { key: keys.cluster, value: encodeRecord(cluster) },
        ...records.map((record) => ({ key: keys.node(record.node), value: encodeRecord(record) })),
      ],
    })
  }

  private addMember(record: NodeRecord): EmbeddedNode {
    const member = new EmbeddedNode(record, {
      world: this.world,
      settings: this.settings,
      ioDeadlineMs: this.settings.ioDeadlineMs,
      observer: this.observer,
      emit: (event) => this.emit(event),
    })
    this.members.set(record.node, member)
    return member
  }

  private member(node: NodeId): EmbeddedNode {
    const member = this.members.get(node)
    if (member === undefined) throw new HitherError('NOT_FOUND', `there is no node ${node}`)
    return member
  }

  /** The CVMs of these nodes have started: hosts that had not heard of it yet would take another node's path. */
  private async openPaths(members: Iterable<EmbeddedNode>): Promise<void> {
    const opening = [...members]
    await this.observer.look(opening.map(({ node }) => node))
    for (const member of opening) member.path.open()
  }

  /** The node whose host uses the vDisk, as far as the views know. */
  private homeMember(id: VDiskId): EmbeddedNode | undefined {
    const home = this.view().homeOf(id)
    return home === undefined ? undefined : this.members.get(home)
  }

  /** The catalog says where the vDisk is at home. The views, which lag, have to know it, too: its handle follows its VM. */
  private async openAtHome(name: string): Promise<VDisk> {
    const info = await this.administration.vdiskInfo(name)
    const unknown: Array<Promise<unknown>> = []
    if (this.vdisks.value(keys.vdisk(info.id)) === undefined) {
      unknown.push(this.vdisks.refresh(keys.vdisk(info.id)))
    }
    if (info.vm !== undefined && this.vms.value(keys.vm(info.vm)) === undefined) {
      unknown.push(this.vms.refresh(keys.vm(info.vm)))
    }
    await Promise.allSettled(unknown)
    return this.openDisks.open(info, (this.members.get(info.home) ?? this.anyMember()).path, false)
  }

  /** That node, or the first whose CVM is up, or the first of all. */
  private hostOr(node: NodeId | undefined): NodeId {
    if (node !== undefined) return this.member(node).node
    return this.nodes.find((each) => this.members.get(each)!.cvmState === 'up') ?? this.nodes[0]!
  }

  private infoOf(vdisk: VDiskId): VDiskInfo | undefined {
    const record = this.vdisks.value(keys.vdisk(vdisk))
    const home = this.view().homeOf(vdisk)
    if (record === undefined || home === undefined) return undefined
    return vdiskInfo(record, this.owners.value(keys.owner(vdisk)), home)
  }

  private anyMember(): EmbeddedNode {
    for (const member of this.members.values()) if (member.cvmState === 'up') return member
    throw new HitherError('CVM_DOWN', 'no CVM of the cluster is up')
  }

  /** The node whose CVM runs the Curator: the first live one, but not `except`. */
  private leader(except?: NodeId): EmbeddedNode {
    for (const node of this.nodes) {
      const member = this.members.get(node)!
      if (node !== except && member.cvmState === 'up' && member.cvm !== undefined) return member
    }
    throw new HitherError('CVM_DOWN', 'no CVM of the cluster is up')
  }

  private async handOver(vdisk: VDiskId, to: NodeId): Promise<void> {
    const deadline = this.world.clock.now() + HAND_OVER_TIMEOUT_MS
    for (let waitMs = 5; ; waitMs = Math.min(200, waitMs * 2)) {
      const owner = (await this.owners.refresh(keys.owner(vdisk)))?.value.node
      if (owner === undefined || owner === to) return
      const cvm = this.members.get(owner)?.cvm
      try {
        if (cvm !== undefined && this.observer.isAlive(owner)) {
          if (!this.observer.isAlive(to)) return
          await cvm.rpc.call(owner, METHOD.handOver, { vdisk, to }, [], HAND_OVER_TIMEOUT_MS)
          return
        }
      } catch (error) {
        if (!(error instanceof HitherError && error.retryable)) throw error
      }
      // The owner is down or changing: whoever takes over brings the vDisk home.
      if (this.world.clock.now() > deadline) return
      await this.world.clock.sleep(waitMs)
    }
  }

  private emit(event: ClusterEventBody): void {
    if (event.type === 'takeover' && event.from !== event.to) this.openDisks.takenOver(event)
    this.log.publish(this.stamp(event))
  }

  private stamp(event: ClusterEventBody): ClusterEvent {
    const time = this.world.clock.wall()
    return { at: new Date(time).toISOString(), time, ...event }
  }

  private view(): View {
    return {
      members: this.members,
      observer: this.observer,
      vdisks: this.vdisks,
      owners: this.owners,
      tracks: this.openDisks.tracks,
      internalBytes: this.openDisks.internalBytes,
      homeOf: (id) => {
        const record = this.vdisks.value(keys.vdisk(id))
        return record === undefined ? undefined : homeOf(record, this.vms)
      },
    }
  }

  /** The vDisk of a file goes where it is used, as that of a VM does. */
  private follow(node: NodeId, vdisk: VDiskId): void {
    const record = this.vdisks.value(keys.vdisk(vdisk))
    const isHome = record === undefined || record.node === node || record.vm !== undefined
    const path = this.members.get(node)?.path
    if (isHome || !isHiddenDisk(record.name) || path?.target !== node || this.following.has(vdisk)) return
    this.following.add(vdisk)
    this.fileAdministration
      .follow(vdisk, node, this.world.clock.wall())
      .catch((error: unknown) => {
        const { message, code } = asHitherError(error)
        this.emit({ type: 'error', where: `${node}: moving the vDisk of a file`, message, code })
      })
      .finally(() => this.following.delete(vdisk))
  }

  private assertOpen(): void {
    if (this.closing !== undefined) throw new HitherError('CLUSTER_CLOSED', 'the cluster is closed')
  }
}

function nodeRecord(number: number, ssdBytes: number, hddBytes: number, nodesPerBlock: number): NodeRecord {
  const node = `node-${number}`
  const device = (tier: Tier, size: number): DeviceRecord => ({ id: `${node}.${tier}0`, tier, size })
  return {
    node,
    block: `block-${Math.floor((number - 1) / nodesPerBlock) + 1}`,
    devices: [device('ssd', ssdBytes), ...(hddBytes > 0 ? [device('hdd', hddBytes)] : [])],
    state: 'member',
  }
}
