/**
 * A cluster of one process's memory, just enough of `Cluster` to test its clients against: names and placement are
 * checked as the engine does, bytes are kept in 4 KiB pages, nothing is replicated.
 */
import type {
  AllocationRun,
  Cluster,
  ClusterEvent,
  ClusterEventBody,
  ClusterStats,
  ClusterStatus,
  ContainerInfo,
  ContainerPolicy,
  CuratorReport,
  ExportOptions,
  FilePath,
  NodeId,
  SnapshotInfo,
  StoragePath,
  VDisk,
  VDiskInfo,
  VDiskOptions,
  VDiskStats,
} from '../../src/api.ts'
import { HitherError } from '../../src/base/errors.ts'
import { GiB } from '../../src/base/units.ts'

const PAGE = 4_096

class FakeDiskState {
  pages = new Map<number, Buffer>()
  snapshots = new Map<string, { info: SnapshotInfo; pages: Map<number, Buffer> }>()
  handles = 0
  info: VDiskInfo

  constructor(info: VDiskInfo) {
    this.info = info
  }
}

export class FakeCluster implements Cluster {
  readonly location = 'memory:'
  nodes: NodeId[] = ['node-1', 'node-2']
  readonly disks = new Map<string, FakeDiskState>()
  readonly vms = new Map<string, NodeId>()
  readonly containers = new Map<string, ContainerInfo>()
  /** What was called with what, for commands that only pass things on. */
  readonly calls: Array<readonly unknown[]> = []
  /** Awaited by each write, so that a test can hold an import up. */
  beforeWrite: (() => Promise<void>) | undefined
  closed = false
  #lastId = 0
  readonly #subscribers = new Set<(event: ClusterEvent) => void>()

  constructor() {
    const policy = { rf: 2, compression: true, dedupe: true, minCopies: 2, durability: 'sync' } as const
    this.containers.set('default', { name: 'default', ...policy })
  }

  async createVDisk(name: string, options: VDiskOptions): Promise<VDisk> {
    if (this.disks.has(name)) throw new HitherError('ALREADY_EXISTS', `disk ${name} exists`)
    const container = options.container ?? 'default'
    if (!this.containers.has(container))
      throw new HitherError('NOT_FOUND', `there is no container ${container}`)
    const node = options.node ?? 'node-1'
    this.#needNode(node)
    if (options.vm !== undefined && !this.vms.has(options.vm)) this.vms.set(options.vm, node)
    const home = options.vm === undefined ? node : this.vms.get(options.vm)!
    this.#lastId += 1
    const state = new FakeDiskState({
      name,
      id: this.#lastId,
      size: options.size,
      container,
      vm: options.vm,
      home,
      owner: home,
      generation: 1,
      readOnly: false,
    })
    this.disks.set(name, state)
    return new FakeDisk(this, state)
  }

  async openVDisk(name: string): Promise<VDisk> {
    return new FakeDisk(this, this.state(name))
  }

  async deleteVDisk(name: string): Promise<void> {
    if (this.state(name).handles > 0) throw new HitherError('IN_USE', `disk ${name} is in use`)
    this.disks.delete(name)
  }

  async listVDisks(): Promise<VDiskInfo[]> {
    return [...this.disks.values()].map((state) => state.info)
  }

  async vdiskInfo(name: string): Promise<VDiskInfo> {
    return this.state(name).info
  }

  async cloneVDisk(
    source: string,
    name: string,
    options: { snapshot?: string; vm?: string; node?: NodeId } = {},
  ): Promise<VDisk> {
    const from = this.state(source)
    const kept = options.snapshot === undefined ? undefined : from.snapshots.get(options.snapshot)
    if (options.snapshot !== undefined && kept === undefined) {
      throw new HitherError('NOT_FOUND', `disk ${source} has no snapshot ${options.snapshot}`)
    }
    const { snapshot: _, ...place } = options
    const clone = await this.createVDisk(name, { size: from.info.size, ...place })
    this.state(name).pages = new Map(kept?.pages ?? from.pages)
    return clone
  }

  async listSnapshots(vdisk: string): Promise<SnapshotInfo[]> {
    return [...this.state(vdisk).snapshots.values()].map(({ info }) => info)
  }

  async deleteSnapshot(vdisk: string, name: string): Promise<void> {
    if (!this.state(vdisk).snapshots.delete(name)) throw new HitherError('NOT_FOUND', `no snapshot ${name}`)
  }

  async createContainer(name: string, policy: Partial<ContainerPolicy> = {}): Promise<ContainerInfo> {
    this.calls.push(['createContainer', name, policy])
    const info = { ...this.containers.get('default')!, ...policy, name }
    this.containers.set(name, info)
    return info
  }

  async exportContainer(name: string, options: Partial<ExportOptions> = {}): Promise<ContainerInfo> {
    this.calls.push(['exportContainer', name, options])
    const exported = { allow: ['127.0.0.0/8'], readOnly: false, squash: 'root' as const, ...options }
    const info = { ...this.containers.get('default')!, name, export: exported }
    this.containers.set(name, info)
    return info
  }

  async unexportContainer(name: string): Promise<ContainerInfo> {
    this.calls.push(['unexportContainer', name])
    const { export: _, ...info } = this.containers.get(name)!
    this.containers.set(name, info)
    return info
  }

  async listContainers(): Promise<ContainerInfo[]> {
    return [...this.containers.values()]
  }

  async listVms(): Promise<Array<{ name: string; node: NodeId }>> {
    return [...this.vms].map(([name, node]) => ({ name, node }))
  }

  async migrateVm(vm: string, options: { to: NodeId }): Promise<void> {
    const from = this.vms.get(vm)
    if (from === undefined) throw new HitherError('NOT_FOUND', `there is no VM ${vm}`)
    this.#needNode(options.to)
    this.vms.set(vm, options.to)
    this.emit({ type: 'vm-migrated', vm, from, to: options.to })
  }

  async failCvm(node: NodeId, options: { hang?: boolean } = {}): Promise<void> {
    this.#needNode(node)
    this.calls.push(['failCvm', node, options.hang ?? false])
    this.emit({ type: 'cvm-down', node, reason: 'crash' })
  }

  async recoverCvm(node: NodeId): Promise<void> {
    this.#needNode(node)
    this.calls.push(['recoverCvm', node])
    this.emit({ type: 'cvm-started', node, lostCopies: 0 })
  }

  async addNode(options: { ssdBytes?: number; hddBytes?: number } = {}): Promise<NodeId> {
    this.calls.push(['addNode', options])
    const node = `node-${this.nodes.length + 1}`
    this.nodes = [...this.nodes, node]
    return node
  }

  async removeNode(node: NodeId): Promise<void> {
    this.#needNode(node)
    if (this.nodes.length <= 2) throw new HitherError('UNSAFE', 'RF 2 needs two nodes')
    this.nodes = this.nodes.filter((one) => one !== node)
  }

  async failDevice(device: string): Promise<void> {
    if (!device.startsWith('node-1.')) throw new HitherError('NOT_FOUND', `there is no device ${device}`)
    this.calls.push(['failDevice', device])
  }

  async runCurator(): Promise<CuratorReport> {
    return {
      reclaimedBytes: 4_194_304,
      removedEgroups: 1,
      compactedEgroups: 0,
      rebuiltEgroups: 0,
      rebuiltBytes: 0,
      movedDownBytes: 0,
      evictedBytes: 0,
      scrubbedBytes: 8_388_608,
      repairedSlices: 0,
      tookMs: 12,
    }
  }

  files(node: NodeId): FilePath {
    return {
      node,
      listExports: () => Promise.resolve([]),
      exportsVersion: () => 0,
      fileSystem: (container) =>
        Promise.reject(new HitherError('NOT_FOUND', `there is no exported container ${container}`)),
    }
  }

  path(node: NodeId): StoragePath {
    return {
      node,
      listVDisks: () => this.listVDisks(),
      openVDisk: (name) => this.openVDisk(name),
    }
  }

  async *events(options: { signal?: AbortSignal } = {}): AsyncGenerator<ClusterEvent, void> {
    const queue: ClusterEvent[] = []
    let wake = () => {}
    const subscriber = (event: ClusterEvent) => {
      queue.push(event)
      wake()
    }
    this.#subscribers.add(subscriber)
    options.signal?.addEventListener('abort', () => wake())
    try {
      while (options.signal?.aborted !== true) {
        while (queue.length > 0) yield queue.shift()!
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    } finally {
      this.#subscribers.delete(subscriber)
    }
  }

  emit(body: ClusterEventBody): void {
    const time = Date.UTC(2026, 0, 2, 3, 4, 5)
    for (const tell of this.#subscribers) tell({ at: new Date(time).toISOString(), time, ...body })
  }

  stats(): ClusterStats {
    const tier = { usedBytes: 1_048_576, sizeBytes: 8 * GiB }
    return {
      logicalBytes: 3 * GiB,
      storedBytes: 2 * GiB,
      partialBytes: 0,
      savedBytes: { zero: 1, dedupe: 2, compression: 3 },
      written: { bytes: 5, ops: 1 },
      read: { localBytes: 9, remoteBytes: 1, ops: 4 },
      localReadRatio: 0.9,
      localised: { bytes: 0, egroups: 0 },
      evicted: { bytes: 0, egroups: 0 },
      backgroundBytes: 0,
      network: { internalBytes: 10, externalBytes: 20 },
      underReplicatedBytes: 0,
      copies: 4,
      egroups: 2,
      repairedSlices: 0,
      corruptSlices: 0,
      memory: { cacheBytes: 1, mapBytes: 2, heldMapBytes: 3, fingerprintBytes: 4, egroupBytes: 5 },
      nodes: Object.fromEntries(this.nodes.map((node) => [node, { ssd: tier, hdd: tier }])),
    }
  }

  status(): ClusterStatus {
    return {
      health: 'degraded',
      reasons: ['the CVM of node-2 is down'],
      nodes: this.nodes.map((node) => ({
        node,
        block: `block-${node.slice(5)}`,
        cvm: node === 'node-2' ? 'down' : 'up',
        path: 'node-1',
        devices: [
          { id: `${node}.ssd0`, tier: 'ssd', failed: false, usedBytes: 1_048_576, sizeBytes: 8 * GiB },
        ],
      })),
      disks: [...this.disks.values()].map(({ info }) => ({
        ...info,
        localReadRatio: 0.976,
        readBytes: 4_096,
        writtenBytes: 8_192,
        lastFailover: { at: '2026-01-02T03:04:05.000Z', from: 'node-2', to: 'node-1', pauseMs: 340 },
      })),
    }
  }

  async close(): Promise<void> {
    this.closed = true
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  state(name: string): FakeDiskState {
    const state = this.disks.get(name)
    if (state === undefined) throw new HitherError('NOT_FOUND', `there is no disk ${name}`)
    return state
  }

  #needNode(node: NodeId): void {
    if (!this.nodes.includes(node)) throw new HitherError('NOT_FOUND', `there is no node ${node}`)
  }
}

class FakeDisk implements VDisk {
  readonly #cluster: FakeCluster
  readonly #state: FakeDiskState
  #open = true

  constructor(cluster: FakeCluster, state: FakeDiskState) {
    this.#cluster = cluster
    this.#state = state
    state.handles += 1
  }

  get name(): string {
    return this.#state.info.name
  }

  get size(): number {
    return this.#state.info.size
  }

  get readOnly(): boolean {
    return false
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const target = Buffer.alloc(length)
    await this.readInto(offset, target)
    return target
  }

  async readInto(offset: number, target: Uint8Array): Promise<void> {
    this.#check(offset, target.length)
    for (const { page, from, at, length } of pagesOf(offset, target.length)) {
      const bytes = this.#state.pages.get(page)
      if (bytes === undefined) target.fill(0, at, at + length)
      else target.set(bytes.subarray(from, from + length), at)
    }
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    this.#check(offset, source.length)
    await this.#cluster.beforeWrite?.()
    for (const { page, from, at, length } of pagesOf(offset, source.length)) {
      const bytes = Buffer.from(this.#state.pages.get(page) ?? Buffer.alloc(PAGE))
      bytes.set(source.subarray(at, at + length), from)
      this.#state.pages.set(page, bytes)
    }
  }

  trim(offset: number, length: number): Promise<void> {
    return this.writeZeroes(offset, length)
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    this.#check(offset, length)
    for (const { page, from, length: bytes } of pagesOf(offset, length)) {
      if (bytes === PAGE) this.#state.pages.delete(page)
      else this.#state.pages.get(page)?.fill(0, from, from + bytes)
    }
  }

  async flush(): Promise<void> {}

  async resize(size: number, options: { discardData?: boolean } = {}): Promise<void> {
    const lost = [...this.#state.pages.keys()].filter((page) => page * PAGE >= size)
    if (lost.length > 0 && options.discardData !== true) {
      throw new HitherError('UNSAFE', `disk ${this.name} holds data beyond that size`)
    }
    for (const page of lost) this.#state.pages.delete(page)
    this.#state.info = { ...this.#state.info, size }
  }

  async snapshot(name: string): Promise<SnapshotInfo> {
    const info = { vdisk: this.name, name, size: this.size, createdAt: Date.UTC(2026, 0, 2) }
    this.#state.snapshots.set(name, { info, pages: new Map(this.#state.pages) })
    return info
  }

  async allocation(offset: number, length: number): Promise<AllocationRun[]> {
    this.#check(offset, length)
    const runs: Array<{ offset: number; length: number; data: boolean }> = []
    for (const { page, at, length: bytes } of pagesOf(offset, length)) {
      const data = this.#state.pages.has(page)
      const last = runs.at(-1)
      if (last?.data === data) last.length += bytes
      else runs.push({ offset: offset + at, length: bytes, data })
    }
    return runs
  }

  stats(): VDiskStats {
    return { reads: 0, writes: 0, readBytes: 0, writtenBytes: 0 }
  }

  async close(): Promise<void> {
    if (this.#open) this.#state.handles -= 1
    this.#open = false
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #check(offset: number, length: number): void {
    if (!this.#open) throw new HitherError('VDISK_CLOSED', 'closed')
    if (offset + length > this.size) throw new HitherError('OUT_OF_RANGE', `beyond the end of ${this.name}`)
  }
}

/** The parts of `offset` … `offset + length`, page by page; `from` within the page, `at` within the range. */
function* pagesOf(offset: number, length: number) {
  for (let at = 0; at < length; ) {
    const page = Math.floor((offset + at) / PAGE)
    const from = (offset + at) % PAGE
    const part = Math.min(PAGE - from, length - at)
    yield { page, from, at, length: part }
    at += part
  }
}
