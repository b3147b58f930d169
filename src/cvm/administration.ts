/**
 * Names and policies: creates, deletes and clones vDisks, containers and VMs, each as one catalog transaction. What
 * only a vDisk's owner can do (snapshot, resize) goes through a port; what needs a hand-over goes to the owner's CVM.
 */
import type {
  ContainerInfo,
  ContainerPolicy,
  ExportOptions,
  SnapshotInfo,
  VDiskInfo,
  VDiskOptions,
} from '../api.ts'
import { HitherError } from '../base/errors.ts'
import { isHiddenDisk } from '../base/hidden-disks.ts'
import { type NodeId, TiB, VBLOCK_BYTES, VDISK_BYTES_MAX, type VDiskId } from '../base/units.ts'
import { IdAllocator } from '../cluster/ids.ts'
import { compareNodes } from '../cluster/membership.ts'
import {
  type ContainerRecord,
  decodeRecord,
  encodeRecord,
  keys,
  lastPart,
  type NodeRecord,
  type OwnerRecord,
  type RootRecord,
  type SnapshotRecord,
  type VDiskRecord,
  type VmRecord,
} from '../cluster/records.ts'
import type { Catalog, CatalogEntry, Random } from '../platform/types.ts'
import { PAGE_ENTRIES } from '../vdisk/page-map.ts'
import { checkExport } from './export-options.ts'
import { HIDDEN, HiddenSnapshots } from './hidden-snapshots.ts'
import type { VDiskControl } from './port.ts'

const NAME_BYTES_MAX = 255

export interface AdministrationDeps {
  readonly catalog: Catalog
  readonly random: Random
  /** Sends a control request to the vDisk's owner, across failures. */
  readonly control: (vdisk: VDiskId, request: VDiskControl) => Promise<unknown>
  /** Asks the owner's CVM to hand the vDisk over. */
  readonly handOver: (vdisk: VDiskId, to: NodeId) => Promise<void>
}

export class Administration {
  private readonly catalog: Catalog
  private readonly deps: AdministrationDeps
  private readonly ids: IdAllocator
  private readonly hidden: HiddenSnapshots

  constructor(deps: AdministrationDeps) {
    this.catalog = deps.catalog
    this.deps = deps
    this.ids = new IdAllocator(deps.catalog)
    this.hidden = new HiddenSnapshots(deps.catalog, deps.random, (vdisk, name) =>
      deps.control(vdisk, { type: 'snapshot', name }),
    )
  }

  async createVDisk(name: string, options: VDiskOptions): Promise<VDiskId> {
    checkName('vDisk', name)
    return this.createHiddenVDisk(name, options)
  }

  /** Also for the cluster's own vDisks, whose names start with a dot. */
  async createHiddenVDisk(name: string, options: VDiskOptions): Promise<VDiskId> {
    checkSize(options.size)
    const container = options.container ?? 'default'
    if ((await this.catalog.get(keys.container(container))) === undefined) {
      throw new HitherError('NOT_FOUND', `there is no container ${container}`)
    }
    const root: RootRecord = emptyRoot(options.size)
    return this.addVDisk(name, options, { size: options.size, container }, root, [])
  }

  /** A writable vDisk that starts as a snapshot, or as `source` is now. */
  async cloneVDisk(
    source: string,
    name: string,
    options: { snapshot?: string; vm?: string; node?: NodeId },
  ): Promise<VDiskId> {
    checkName('vDisk', name)
    const parent = (await this.find(source)).value
    if (options.snapshot !== undefined) return this.cloneSnapshot(parent, options.snapshot, name, options)
    // Also a clone of now starts from a snapshot, a hidden one: its root must be held until the clone's is.
    return this.hidden.with(parent.id, (snapshot) => this.cloneSnapshot(parent, snapshot, name, options))
  }

  /** Removes the vDisk and its snapshots; space comes back with the next reclaim. */
  async deleteVDisk(name: string): Promise<VDiskId> {
    const entry = await this.find(name)
    const id = entry.value.id
    const snapshots = await this.catalog.list(keys.snapshots(id))
    const result = await this.catalog.commit({
      when: [{ key: keys.vdisk(id), revision: entry.revision }],
      remove: [
        keys.name(name),
        keys.vdisk(id),
        keys.owner(id),
        keys.root(id),
        keys.listing(id),
        ...snapshots.map((snapshot) => snapshot.key),
      ],
    })
    if (!result.ok) throw new HitherError('CONFLICT', `vDisk ${name} was changed meanwhile; try again`)
    return id
  }

  async listVDisks(): Promise<VDiskInfo[]> {
    const [vdisks, owners, vms] = await Promise.all([
      this.catalog.list('vdisk/'),
      this.catalog.list('owner/'),
      this.catalog.list('vm/'),
    ])
    const ownerOf = new Map(
      owners.map((entry) => [lastPart(entry.key), decodeRecord<OwnerRecord>(entry.value)]),
    )
    const vmOf = new Map(vms.map((entry) => [lastPart(entry.key), decodeRecord<VmRecord>(entry.value)]))
    return vdisks
      .map((entry) => decodeRecord<VDiskRecord>(entry.value))
      .filter((record) => !isHiddenDisk(record.name))
      .map((record) => {
        const home = (record.vm === undefined ? undefined : vmOf.get(record.vm)?.node) ?? record.node
        return vdiskInfo(record, ownerOf.get(String(record.id)), home)
      })
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async vdiskInfo(name: string): Promise<VDiskInfo> {
    const record = (await this.find(name)).value
    const [owner, vm] = await Promise.all([
      this.catalog.get(keys.owner(record.id)),
      record.vm === undefined ? undefined : this.catalog.get(keys.vm(record.vm)),
    ])
    const home = vm === undefined ? record.node : decodeRecord<VmRecord>(vm.value).node
    return vdiskInfo(record, owner && decodeRecord<OwnerRecord>(owner.value), home)
  }

  async createSnapshot(vdisk: VDiskId, name: string): Promise<SnapshotInfo> {
    checkName('snapshot', name)
    const record = (await this.deps.control(vdisk, { type: 'snapshot', name })) as SnapshotRecord
    const entry = await this.catalog.get(keys.vdisk(vdisk))
    const vdiskName = entry === undefined ? '' : decodeRecord<VDiskRecord>(entry.value).name
    return { vdisk: vdiskName, name, size: record.size, createdAt: record.createdAt }
  }

  async listSnapshots(vdisk: string): Promise<SnapshotInfo[]> {
    const { id } = (await this.find(vdisk)).value
    return (await this.catalog.list(keys.snapshots(id)))
      .map((entry) => decodeRecord<SnapshotRecord>(entry.value))
      .filter((record) => !record.name.startsWith(HIDDEN))
      .map(({ name, size, createdAt }) => ({ vdisk, name, size, createdAt }))
  }

  async deleteSnapshot(vdisk: string, name: string): Promise<void> {
    const { id } = (await this.find(vdisk)).value
    const key = keys.snapshot(id, name)
    const entry = await this.catalog.get(key)
    if (entry === undefined) throw new HitherError('NOT_FOUND', `vDisk ${vdisk} has no snapshot ${name}`)
    await this.catalog.commit({ when: [{ key, revision: entry.revision }], remove: [key] })
  }

  async createContainer(
    name: string,
    policy: Partial<ContainerPolicy> & { export?: Partial<ExportOptions> },
    nodes: number,
  ): Promise<ContainerInfo> {
    checkName('container', name)
    const rf = policy.rf ?? (nodes >= 2 ? 2 : 1)
    const minCopies = policy.minCopies ?? rf
    if (![1, 2, 3].includes(rf)) throw new HitherError('BAD_SETTING', `RF is 1, 2 or 3, not ${rf}`)
    if (!Number.isInteger(minCopies) || minCopies < 1 || minCopies > rf) {
      throw new HitherError('BAD_SETTING', `minCopies is 1 to RF (${rf}), not ${minCopies}`)
    }
    const durability = policy.durability ?? 'sync'
    if (durability !== 'sync' && durability !== 'flush') {
      throw new HitherError('BAD_SETTING', `durability is sync or flush, not ${String(durability)}`)
    }
    const record: ContainerRecord = {
      name,
      rf,
      minCopies,
      compression: policy.compression ?? true,
      dedupe: policy.dedupe ?? true,
      durability,
      ...(policy.export === undefined ? {} : { export: checkExport(policy.export) }),
    }
    const result = await this.catalog.commit({
      when: [{ key: keys.container(name), revision: 0 }],
      put: [{ key: keys.container(name), value: encodeRecord(record) }],
    })
    if (!result.ok) throw new HitherError('ALREADY_EXISTS', `there is a container ${name} already`)
    return record
  }

  async listContainers(): Promise<ContainerInfo[]> {
    return (await this.catalog.list('container/')).map((entry) => decodeRecord<ContainerRecord>(entry.value))
  }

  async listVms(): Promise<VmRecord[]> {
    return (await this.catalog.list('vm/')).map((entry) => decodeRecord<VmRecord>(entry.value))
  }

  /** The VM runs on `to` from now on; its vDisks are handed over. Returns where it ran. */
  async migrateVm(name: string, to: NodeId): Promise<NodeId> {
    const takes = await this.taking(to)
    const entry = await this.catalog.get(keys.vm(name))
    if (entry === undefined) throw new HitherError('NOT_FOUND', `there is no VM ${name}`)
    const vm = decodeRecord<VmRecord>(entry.value)
    const next: VmRecord = { ...vm, node: to }
    const result = await this.catalog.commit({
      when: [{ key: entry.key, revision: entry.revision }, takes],
      put: [{ key: entry.key, value: encodeRecord(next) }],
    })
    if (!result.ok) {
      throw new HitherError(
        'CONFLICT',
        `VM ${name} was moved by somebody else meanwhile, or ${to} has changed`,
      )
    }
    const vdisks = (await this.catalog.list('vdisk/'))
      .map((item) => decodeRecord<VDiskRecord>(item.value))
      .filter((record) => record.vm === name)
    await Promise.all(vdisks.map((record) => this.deps.handOver(record.id, to)))
    return vm.node
  }

  async find(name: string): Promise<{ value: VDiskRecord; revision: number }> {
    const nameEntry = await this.catalog.get(keys.name(name))
    const entry =
      nameEntry === undefined
        ? undefined
        : await this.catalog.get(keys.vdisk(decodeRecord<{ id: VDiskId }>(nameEntry.value).id))
    if (entry === undefined) throw new HitherError('NOT_FOUND', `there is no vDisk ${name}`)
    return { value: decodeRecord<VDiskRecord>(entry.value), revision: entry.revision }
  }

  /**
   * The node takes VMs and vDisks: a condition for the commit that puts one there, since a drain that begins meanwhile
   * would miss it, and leave it on a node that is gone. `NOT_FOUND`, `CONFLICT`.
   */
  async taking(node: NodeId): Promise<Pick<CatalogEntry, 'key' | 'revision'>> {
    const entry = await this.catalog.get(keys.node(node))
    if (entry === undefined) throw new HitherError('NOT_FOUND', `there is no node ${node}`)
    if (decodeRecord<NodeRecord>(entry.value).state !== 'member') {
      throw new HitherError('CONFLICT', `${node} is being drained, and takes nothing new`)
    }
    return { key: entry.key, revision: entry.revision }
  }

  private async cloneSnapshot(
    parent: VDiskRecord,
    snapshotName: string,
    name: string,
    options: { vm?: string; node?: NodeId },
  ): Promise<VDiskId> {
    const key = keys.snapshot(parent.id, snapshotName)
    const entry = await this.catalog.get(key)
    if (entry === undefined) {
      throw new HitherError('NOT_FOUND', `vDisk ${parent.name} has no snapshot ${snapshotName}`)
    }
    const snapshot = decodeRecord<SnapshotRecord>(entry.value)
    const root: RootRecord = {
      root: snapshot.root,
      levels: snapshot.levels,
      mappedBlocks: snapshot.mappedBlocks,
      replay: { order: 1, offset: 0 },
    }
    return this.addVDisk(name, options, { size: snapshot.size, container: parent.container }, root, [
      { key, revision: entry.revision },
    ])
  }

  private async addVDisk(
    name: string,
    options: { vm?: string; node?: NodeId },
    what: { size: number; container: string },
    root: RootRecord,
    when: ReadonlyArray<{ key: string; revision: number }>,
  ): Promise<VDiskId> {
    const vmEntry = options.vm === undefined ? undefined : await this.findVm(options.vm)
    const vmNode = vmEntry && decodeRecord<VmRecord>(vmEntry.value).node
    if (vmNode !== undefined && options.node !== undefined && options.node !== vmNode) {
      throw new HitherError(
        'CONFLICT',
        `VM ${options.vm} runs on ${vmNode}, not on ${options.node}; move it first`,
      )
    }
    const node = vmNode ?? options.node ?? (await this.leastLoaded())
    const takes = await this.taking(node)
    const id = await this.ids.vdisk()
    const record: VDiskRecord = {
      id,
      name,
      ...what,
      node,
      ...(options.vm === undefined ? {} : { vm: options.vm }),
    }
    const owner: OwnerRecord = { node, generation: 0 }
    const newVm = options.vm !== undefined && vmEntry === undefined
    const result = await this.catalog.commit({
      when: [
        { key: keys.name(name), revision: 0 },
        takes,
        ...(newVm ? [{ key: keys.vm(options.vm!), revision: 0 }] : []),
        ...when,
      ],
      put: [
        { key: keys.name(name), value: encodeRecord({ id }) },
        { key: keys.vdisk(id), value: encodeRecord(record) },
        { key: keys.owner(id), value: encodeRecord(owner) },
        { key: keys.root(id), value: encodeRecord(root) },
        ...(newVm ? [{ key: keys.vm(options.vm!), value: encodeRecord({ name: options.vm!, node }) }] : []),
      ],
    })
    if (!result.ok) {
      if ((await this.catalog.get(keys.name(name))) !== undefined) {
        throw new HitherError('ALREADY_EXISTS', `there is a vDisk ${name} already`)
      }
      throw new HitherError(
        'CONFLICT',
        `vDisk ${name} was not created: what it depends on changed; try again`,
      )
    }
    return id
  }

  private async findVm(name: string): Promise<CatalogEntry | undefined> {
    checkName('VM', name)
    return this.catalog.get(keys.vm(name))
  }

  private async leastLoaded(): Promise<NodeId> {
    const [nodes, vdisks] = await Promise.all([this.catalog.list('node/'), this.catalog.list('vdisk/')])
    const counts = new Map<NodeId, number>()
    for (const entry of nodes) {
      const record = decodeRecord<NodeRecord>(entry.value)
      if (record.state === 'member') counts.set(record.node, 0)
    }
    for (const entry of vdisks) {
      const record = decodeRecord<VDiskRecord>(entry.value)
      if (counts.has(record.node)) counts.set(record.node, counts.get(record.node)! + 1)
    }
    const sorted = [...counts].sort(([a, x], [b, y]) => x - y || compareNodes(a, b))
    if (sorted.length === 0)
      throw new HitherError('NO_REPLICAS', 'the cluster has no node that could take a vDisk')
    return sorted[0]![0]
  }
}

export function emptyRoot(size: number): RootRecord {
  return { root: null, levels: levelsFor(size), replay: { order: 1, offset: 0 }, mappedBlocks: 0 }
}

function levelsFor(size: number): number {
  const vblocks = Math.ceil(size / VBLOCK_BYTES)
  let levels = 1
  while (PAGE_ENTRIES ** levels < vblocks) levels++
  return levels
}

/** The public view of a vDisk. `home`: where it should be served. */
export function vdiskInfo(record: VDiskRecord, owner: OwnerRecord | undefined, home: NodeId): VDiskInfo {
  return {
    name: record.name,
    id: record.id,
    size: record.size,
    container: record.container,
    vm: record.vm,
    home,
    owner: owner?.node ?? home,
    generation: owner?.generation ?? 0,
    readOnly: record.readOnly === true,
  }
}

function checkName(what: string, name: string): void {
  if (typeof name !== 'string' || name.length === 0 || Buffer.byteLength(name) > NAME_BYTES_MAX) {
    throw new HitherError('BAD_ARGUMENT', `a ${what} name has 1 to ${NAME_BYTES_MAX} bytes`)
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused.
  if (/[\u0000-\u001f\u007f/]/.test(name) || name.startsWith(HIDDEN)) {
    throw new HitherError(
      'BAD_ARGUMENT',
      `a ${what} name has no slash or control character, and no leading dot`,
    )
  }
}

export function checkSize(size: number): void {
  if (!Number.isSafeInteger(size) || size <= 0 || size > VDISK_BYTES_MAX) {
    throw new HitherError(
      'BAD_ARGUMENT',
      `a vDisk has 1 byte to ${VDISK_BYTES_MAX / TiB} TiB, not ${size} bytes`,
    )
  }
}
