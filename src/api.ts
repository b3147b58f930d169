/**
 * The public types of hither. Types only: read this file first. Offsets, lengths and sizes are bytes. Every promise
 * rejects with a `HitherError` (base/errors.ts) that has a stable `code`.
 */
import type { HitherError } from './base/errors.ts'
import type { NodeId, Tier } from './base/units.ts'

export type { ErrorCode, HitherError } from './base/errors.ts'
export type { NodeId, Tier } from './base/units.ts'

/** Plain data, fixed when the cluster is created; a later open may leave it out. */
export interface ClusterSettings {
  /** How many nodes a new cluster starts with. Default 4. */
  nodes?: number
  /** RF of the container `default`. Default 2 (1 for a one-node cluster). */
  rf?: 1 | 2 | 3
  /** Bytes of the SSD of each new node. Default 8 GiB. */
  ssdBytes?: number
  /** Bytes of the HDD of each new node; 0 for none. Default 32 GiB. */
  hddBytes?: number
  /** Nodes per block (chassis): nodes 1…n are in block-1, and so on. Default 1, each node its own failure domain. */
  nodesPerBlock?: number
  /** How long a CVM may be silent before its peers take over, ms. Default 2,000. */
  leaseTtlMs?: number
  /** How long a recovered CVM must be healthy before paths and vDisks return to it, ms. Default 30,000. */
  holdDownMs?: number
  /** How long a CVM may be away before its copies are rebuilt elsewhere, ms. Default 60,000. */
  rebuildDelayMs?: number
  /** Time between background scans (reclaim, rebuild, tiering, balance, scrub), ms; 0 runs them only on request. Default 60,000. */
  curatorIntervalMs?: number
  /** How long an IO waits for a path before it fails, ms. Default 60,000. */
  ioDeadlineMs?: number
  /**
   * Budget for decompressed blocks in memory per CVM, bytes; taken as blocks are read. Default: a 64th of the machine's
   * memory, 64 MiB to 1 GiB; 64 MiB in a simulated cluster.
   */
  cacheBytes?: number
  /** Budget for map pages per CVM, bytes. Default 256 MiB. */
  mapBytes?: number
  /** Threads that compress large writes, beside the one of the caller. Default: the other cores, at most 3. */
  packThreads?: number
  /** How hot remote data comes to the reader. Default `readahead`. */
  localityPolicy?: LocalityPolicyName
}

export type LocalityPolicyName = 'never' | 'classic' | 'keep' | 'readahead'

/** Parts of the world that an embedder may replace. */
export interface ClusterComponents {
  /** Seed for every random choice; default: from the operating system. */
  seed?: number
}

export type Durability = 'sync' | 'flush'

export interface ContainerPolicy {
  /** Copies of every acknowledged byte. */
  rf: 1 | 2 | 3
  compression: boolean
  dedupe: boolean
  /** With fewer healthy nodes than this, writes fail with `NO_REPLICAS`. Default: `rf`. */
  minCopies: number
  /** `sync`: acknowledged means synced on RF nodes. `flush`: written on RF nodes, synced at FLUSH and FUA. */
  durability: Durability
}

/** How a container is exported as a file system. */
export interface ExportOptions {
  /** Networks that may mount it, as CIDR (`10.0.0.0/8`, `::1/128`) or single addresses. Default: loopback only. */
  allow: readonly string[]
  readOnly: boolean
  /** Whose requests count as those of nobody (65534). Default `root`, as everywhere. */
  squash: 'none' | 'root' | 'all'
}

export interface ContainerInfo extends ContainerPolicy {
  readonly name: string
  /** Set when it is exported. The container `default` of a new cluster is. */
  readonly export?: ExportOptions
}

export interface VDiskOptions {
  /** Bytes; at most 64 TiB. Need not be a multiple of 4 KiB. */
  size: number
  /** Container whose policy applies. Default `default`. */
  container?: string
  /** The VM that uses the disk; it is created on `node` when there is none of this name. */
  vm?: string
  /** Node that owns the disk (or where a new VM runs). Default: the VM's node, else the node with fewest vDisks. */
  node?: NodeId
}

export interface VDiskInfo {
  readonly name: string
  readonly id: number
  readonly size: number
  readonly container: string
  readonly vm: string | undefined
  /** Node where the disk should be served: its VM's, or the one it was created on. */
  readonly home: NodeId
  /** Node whose CVM serves it now. */
  readonly owner: NodeId
  readonly generation: number
  readonly readOnly: boolean
}

export interface SnapshotInfo {
  readonly vdisk: string
  readonly name: string
  readonly size: number
  /** Milliseconds since 1970. */
  readonly createdAt: number
}

/** A run of one kind; `data: false` reads as zeros. */
export interface AllocationRun {
  readonly offset: number
  readonly length: number
  readonly data: boolean
}

export interface WriteOptions {
  /** Force unit access: durable when the promise resolves, whatever the container's durability. */
  fua?: boolean
  /**
   * Asked before each attempt: `false` when nobody waits for the write any more. It is not tried then, or not again, and
   * fails with `CANCELLED`; so it cannot come later than what its caller does elsewhere.
   */
  isAwaited?: () => boolean
}

/**
 * An open vDisk. Any number of calls may overlap; overlapping writes take effect in some order, whole. A handle stays
 * valid through failover and migration: IO under way is sent again on the new path. Never-written ranges read as zeros.
 */
export interface VDisk extends AsyncDisposable {
  readonly name: string
  /** Bytes now; follows a resize. */
  readonly size: number
  readonly readOnly: boolean
  /** Reads into a new buffer, which the caller owns. */
  read(offset: number, length: number): Promise<Uint8Array>
  /** Reads into the caller's buffer, which the caller leaves alone until the promise settles. */
  readInto(offset: number, target: Uint8Array): Promise<void>
  /** Resolves when acknowledged (see `Durability`). `source` is read until then. */
  write(offset: number, source: Uint8Array, options?: WriteOptions): Promise<void>
  /** The range becomes a hole. */
  trim(offset: number, length: number, options?: WriteOptions): Promise<void>
  /** The range reads as zeros; it costs no space. */
  writeZeroes(offset: number, length: number, options?: WriteOptions): Promise<void>
  /** Everything acknowledged before this call is durable when it resolves. */
  flush(): Promise<void>
  /** Grows, or shrinks: shrinking over written data is refused with `UNSAFE` unless `discardData`. */
  resize(size: number, options?: { discardData?: boolean }): Promise<void>
  /** A read-only image of now. */
  snapshot(name: string): Promise<SnapshotInfo>
  /** Runs that cover `offset` … `offset + length`, in order, neighbours of one kind merged. */
  allocation(offset: number, length: number): Promise<AllocationRun[]>
  stats(): VDiskStats
  /** Waits for IO under way, then ends this handle. The vDisk stays. */
  close(): Promise<void>
}

/** What a door needs of a cluster: one host's path to storage. */
export interface StoragePath {
  readonly node: NodeId
  /** Names of all vDisks, in order. */
  listVDisks(): Promise<VDiskInfo[]>
  openVDisk(name: string): Promise<VDisk>
}

/** What a file door needs of a cluster: the exports, through one host's path. */
export interface FilePath {
  readonly node: NodeId
  /** Containers that are exported as file systems, in order. */
  listExports(): Promise<ContainerInfo[]>
  /** Another number after each change of an export that was made through this cluster object. */
  exportsVersion(): number
  /** The file system of an exported container; `NOT_FOUND` for any other. Cheap to call again: one object each. */
  fileSystem(container: string): Promise<FileSystem>
}

/** Number of a file within its container; never used again. The root directory is 1. */
export type FileId = number

export type FileType = 'file' | 'directory' | 'symlink'

/** Since 1970. */
export interface FileTime {
  readonly seconds: number
  readonly nanoseconds: number
}

/** RFC 1813 fattr3, without what is the same for all files of a container. */
export interface FileAttributes {
  readonly type: FileType
  readonly id: FileId
  /** Tells a file from an earlier one: part of a handle. */
  readonly birth: number
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number
  readonly links: number
  readonly uid: number
  readonly gid: number
  /** Bytes. */
  readonly size: number
  /** Bytes that hold data, as far as is known without asking the map. */
  readonly used: number
  readonly accessed: FileTime
  readonly modified: FileTime
  readonly changed: FileTime
}

/** What of a file changes; a time is one of the server's (`now`) or the caller's. */
export interface FileChanges {
  mode?: number
  uid?: number
  gid?: number
  /** Bytes. Cut data is gone; what is added reads as zeros. */
  size?: number
  accessed?: FileTime | 'now'
  modified?: FileTime | 'now'
}

/** Attributes right before and right after a change (RFC 1813 wcc_data). */
export interface FileChange {
  readonly before: FileAttributes
  readonly after: FileAttributes
}

/** A name, and what it names. Names are bytes: any but `/` and NUL, 1 to 255 of them. */
export interface DirectoryEntry {
  readonly name: Uint8Array
  readonly id: FileId
  /** Where a later listing goes on. Grows within a directory, and stays for as long as the entry does. */
  readonly cookie: number
  readonly attributes: FileAttributes
}

/**
 * Who asks, for an operation that must not run twice: two calls with the same key are one, whichever CVM gets them,
 * and whatever fails between; the second is answered as the first was. 64 bits as two unsigned 32-bit halves.
 */
export interface RequestKey {
  readonly high: number
  readonly low: number
}

export interface FileCall {
  readonly key?: RequestKey
  /**
   * Whoever asks may not do this: `FORBIDDEN`, now and whenever the call comes again, also without this. But when it was
   * done (or refused) under its key before, it is answered as it was then.
   */
  readonly forbidden?: boolean
}

/** A file and where it is, after it was made. */
export interface MadeFile {
  readonly file: FileAttributes
  readonly directory: FileChange
}

/**
 * The files of one container, the same on every host. Each operation happens whole or not at all, and is durable when
 * its promise resolves. A file that is gone is `FILE_STALE`; `birth` of 0 stands for any. Who may do what is the
 * caller's to check: nothing here looks at modes.
 */
export interface FileSystem {
  readonly container: string
  /** Tells this container from every other in the cluster, also from one that had its name. 32 bits. */
  readonly id: number
  getAttributes(file: FileId, birth?: number): Promise<FileAttributes>
  /** With `guard`, `CONFLICT` unless that is the file's time of change. */
  setAttributes(
    file: FileId,
    changes: FileChanges,
    options?: FileCall & { guard?: FileTime },
  ): Promise<FileChange>
  /** `NOT_FOUND`, `NOT_DIRECTORY`. `.` and `..` are understood. */
  lookup(directory: FileId, name: Uint8Array): Promise<{ file: FileAttributes; directory: FileAttributes }>
  /** Entries behind `cookie` (0: from the start), without `.` and `..`, at most `limit`; `end`: these are the last. */
  list(
    directory: FileId,
    cookie: number,
    limit: number,
  ): Promise<{ directory: FileAttributes; entries: DirectoryEntry[]; end: boolean }>
  /** Directory that holds this directory; the root's is the root. */
  parent(directory: FileId): Promise<FileAttributes>
  /**
   * `unchecked` takes a file that is there as it is (a size among `changes` applies to it); `guarded` is
   * `ALREADY_EXISTS` then; `exclusive` also, unless it was made with the same 8 bytes.
   */
  createFile(
    directory: FileId,
    name: Uint8Array,
    changes: FileChanges,
    options: FileCall & { how: 'unchecked' | 'guarded' | { exclusive: Uint8Array } },
  ): Promise<MadeFile>
  createDirectory(
    directory: FileId,
    name: Uint8Array,
    changes: FileChanges,
    call?: FileCall,
  ): Promise<MadeFile>
  /** `target` has 1 to 4,096 bytes. */
  createSymlink(
    directory: FileId,
    name: Uint8Array,
    target: Uint8Array,
    changes: FileChanges,
    call?: FileCall,
  ): Promise<MadeFile>
  readLink(file: FileId): Promise<{ target: Uint8Array; attributes: FileAttributes }>
  /** Another name for a regular file or a symbolic link. */
  link(file: FileId, directory: FileId, name: Uint8Array, call?: FileCall): Promise<MadeFile>
  /** A file or symbolic link; its data goes with its last name. `IS_DIRECTORY`. */
  remove(directory: FileId, name: Uint8Array, call?: FileCall): Promise<FileChange>
  /** `NOT_EMPTY`, `NOT_DIRECTORY`. */
  removeDirectory(directory: FileId, name: Uint8Array, call?: FileCall): Promise<FileChange>
  /** Replaces a file by a file, an empty directory by a directory. A directory never comes under itself. */
  rename(
    from: FileId,
    name: Uint8Array,
    to: FileId,
    newName: Uint8Array,
    call?: FileCall,
  ): Promise<{ from: FileChange; to: FileChange }>
  /** Fills as much of `target` as the file has there. */
  read(
    file: FileId,
    offset: number,
    target: Uint8Array,
  ): Promise<{ length: number; end: boolean; attributes: FileAttributes }>
  /** `source` is read until the promise settles. Grows the file when it goes past the end; what lies between is zeros. */
  write(
    file: FileId,
    offset: number,
    source: Uint8Array,
    options?: WriteOptions & { readonly key?: RequestKey },
  ): Promise<FileChange & { verifier: Uint8Array }>
  /** Everything written before is durable; with the same verifier, nothing written under it was lost. */
  commit(file: FileId): Promise<FileChange & { verifier: Uint8Array }>
  space(): Promise<{ totalBytes: number; freeBytes: number; totalFiles: number; freeFiles: number }>
}

export interface Cluster extends AsyncDisposable {
  readonly location: string
  /** Node ids in order. */
  readonly nodes: readonly NodeId[]

  createVDisk(name: string, options: VDiskOptions): Promise<VDisk>
  /** Opens through the path of the vDisk's own host, or through `via`. */
  openVDisk(name: string, options?: { via?: NodeId }): Promise<VDisk>
  deleteVDisk(name: string): Promise<void>
  listVDisks(): Promise<VDiskInfo[]>
  vdiskInfo(name: string): Promise<VDiskInfo>

  /** Writable vDisk that starts as the snapshot `snapshot` of `source`, or as `source` is now. O(1). */
  cloneVDisk(
    source: string,
    name: string,
    options?: { snapshot?: string; vm?: string; node?: NodeId },
  ): Promise<VDisk>
  listSnapshots(vdisk: string): Promise<SnapshotInfo[]>
  deleteSnapshot(vdisk: string, name: string): Promise<void>

  createContainer(
    name: string,
    policy?: Partial<ContainerPolicy> & { export?: Partial<ExportOptions> },
  ): Promise<ContainerInfo>
  listContainers(): Promise<ContainerInfo[]>
  /**
   * Exports a container as a file system, or changes how: what is left out is the default, also when it was otherwise
   * before. One that was exported earlier has the files that it had, under the same handles. `NOT_FOUND`, `BAD_SETTING`.
   */
  exportContainer(name: string, options?: Partial<ExportOptions>): Promise<ContainerInfo>
  /**
   * Ends the export. The files stay, out of reach until the next; disks stay disks. Clients are told that their handles
   * are stale. `NOT_FOUND`; `IN_USE` while a file of it is open as a disk.
   */
  unexportContainer(name: string): Promise<ContainerInfo>

  listVms(): Promise<Array<{ readonly name: string; readonly node: NodeId }>>
  /** The VM runs on another node from now on: ownership of its vDisks follows at once, hot data as it is read. */
  migrateVm(vm: string, options: { to: NodeId }): Promise<void>

  /** Kills the CVM as a crash would; with `hang` it stops answering instead. */
  failCvm(node: NodeId, options?: { hang?: boolean }): Promise<void>
  /** Starts it again. Paths and vDisks return after the hold-down time. */
  recoverCvm(node: NodeId): Promise<void>
  addNode(options?: { ssdBytes?: number; hddBytes?: number }): Promise<NodeId>
  /** Drains the node, then removes it. Refused with `UNSAFE` when RF could not be kept. */
  removeNode(node: NodeId): Promise<void>
  /** A device dies: its IO fails from now on, its copies are rebuilt from the others. */
  failDevice(device: string): Promise<void>

  /** Runs every background scan once, to its end; after a scan that is under way. `CONFLICT` when that takes minutes. */
  runCurator(): Promise<CuratorReport>

  /** One host's path to storage, for the doors. */
  path(node: NodeId): StoragePath
  /** The same for file doors. */
  files(node: NodeId): FilePath

  /** What happens from now on. Bounded: a slow reader loses the oldest, told by an event `events-lost`. */
  events(options?: { signal?: AbortSignal }): AsyncIterable<ClusterEvent>
  stats(): ClusterStats
  status(): ClusterStatus
  /** Drains, checkpoints and closes. Also `await using`. */
  close(): Promise<void>
}

export interface VDiskStats {
  readonly reads: number
  readonly writes: number
  readonly readBytes: number
  readonly writtenBytes: number
}

/** What one run of the Curator did. */
export interface CuratorReport {
  readonly reclaimedBytes: number
  readonly removedEgroups: number
  readonly compactedEgroups: number
  readonly rebuiltEgroups: number
  readonly rebuiltBytes: number
  readonly movedDownBytes: number
  readonly evictedBytes: number
  readonly scrubbedBytes: number
  readonly repairedSlices: number
  readonly tookMs: number
  /** Set when a part was put off, e.g. because a CVM failed meanwhile; run it again. */
  readonly incomplete?: string
}

export type ClusterEvent = { readonly at: string; readonly time: number } & ClusterEventBody

/** `at` is an ISO time stamp, `time` milliseconds since 1970. Durations are milliseconds. */
export type ClusterEventBody =
  | {
      readonly type: 'cvm-started'
      readonly node: NodeId
      /** Copies that this node should have had and no longer has, whole: its devices have lost them. They are rebuilt. */
      readonly lostCopies: number
    }
  | {
      readonly type: 'cvm-down'
      readonly node: NodeId
      readonly reason: 'crash' | 'lease-expired' | 'stopped'
    }
  | { readonly type: 'path-switched'; readonly host: NodeId; readonly from: NodeId; readonly to: NodeId }
  | {
      readonly type: 'takeover'
      readonly vdisk: string
      readonly from: NodeId
      readonly to: NodeId
      readonly generation: number
      readonly replayedFrames: number
      readonly tookMs: number
    }
  | {
      readonly type: 'handover'
      readonly vdisk: string
      readonly from: NodeId
      readonly to: NodeId
      readonly generation: number
      readonly tookMs: number
    }
  | { readonly type: 'vm-migrated'; readonly vm: string; readonly from: NodeId; readonly to: NodeId }
  | {
      readonly type: 'egroup-sealed-on-failure'
      readonly egroup: number
      readonly dropped: readonly NodeId[]
    }
  | {
      readonly type: 'copy-repaired'
      readonly egroup: number
      readonly node: NodeId
      readonly slices: number
    }
  | { readonly type: 'copy-corrupt'; readonly egroup: number; readonly node: NodeId }
  | { readonly type: 'rebuilt'; readonly egroups: number; readonly bytes: number; readonly tookMs: number }
  | { readonly type: 'localised'; readonly egroup: number; readonly node: NodeId; readonly bytes: number }
  | {
      readonly type: 'evicted'
      readonly egroup: number
      readonly from: NodeId
      readonly to: NodeId
      readonly bytes: number
    }
  | {
      readonly type: 'tiered'
      readonly egroup: number
      readonly node: NodeId
      readonly to: Tier
      readonly bytes: number
    }
  | {
      readonly type: 'node-full'
      readonly node: NodeId
      readonly usedBytes: number
      readonly sizeBytes: number
    }
  | { readonly type: 'device-failed'; readonly node: NodeId; readonly device: string }
  | { readonly type: 'node-added' | 'node-removed'; readonly node: NodeId }
  | { readonly type: 'curator'; readonly report: CuratorReport }
  | { readonly type: 'events-lost'; readonly count: number }
  | {
      readonly type: 'error'
      readonly where: string
      readonly message: string
      readonly code: HitherError['code']
    }

/** Bytes of memory that CVMs take for what they keep; not the working memory of IO and of the runtime. */
export interface MemoryStats {
  /** Decompressed blocks: at most `cacheBytes` of the settings, per CVM. */
  readonly cacheBytes: number
  /** Map pages that may go: at most `mapBytes` of the settings, per CVM. */
  readonly mapBytes: number
  /**
   * Map pages that have to stay, beside that budget: changed since the last checkpoint, being stored, or under a write.
   * Writers wait for a checkpoint when they get to 32 MiB of a vDisk.
   */
  readonly heldMapBytes: number
  /** Candidate indexes of dedupe: at most 64 MiB per CVM. */
  readonly fingerprintBytes: number
  /** Tables of all egroups, per CVM: up to 64 bytes for each, and 4 KiB when there are few. They do not shrink. */
  readonly egroupBytes: number
}

export interface TierStats {
  readonly usedBytes: number
  readonly sizeBytes: number
}

/** Counters grow from the moment the cluster was opened; gauges are of now. */
export interface ClusterStats {
  /** Bytes of vDisk address space that hold data now (gauge, live vDisks and clones, not snapshots). */
  readonly logicalBytes: number
  /** Bytes in egroups, all full copies together (gauge). */
  readonly storedBytes: number
  /** The same for partial copies, which are a cache and not counted in RF (gauge). */
  readonly partialBytes: number
  /** User bytes that never reached a device, by reason, one copy (counters). */
  readonly savedBytes: { readonly zero: number; readonly dedupe: number; readonly compression: number }
  readonly written: { readonly bytes: number; readonly ops: number }
  /** Bytes of reads that the owner served from its own node (cache or device) / from another node (counters). */
  readonly read: { readonly localBytes: number; readonly remoteBytes: number; readonly ops: number }
  readonly localReadRatio: number
  /** Bytes brought to the reading node ahead of or after demand, and bytes sent away (counters). */
  readonly localised: { readonly bytes: number; readonly egroups: number }
  readonly evicted: { readonly bytes: number; readonly egroups: number }
  /** Bytes of moves, rebuilds, compaction and tiering over the network and on devices (counter). */
  readonly backgroundBytes: number
  readonly network: { readonly internalBytes: number; readonly externalBytes: number }
  /** Logical log bytes of egroups with fewer valid copies than RF (gauge). */
  readonly underReplicatedBytes: number
  /** Full copies of egroups (gauge). */
  readonly copies: number
  readonly egroups: number
  readonly repairedSlices: number
  readonly corruptSlices: number
  /** All CVMs together (gauge). */
  readonly memory: MemoryStats
  readonly nodes: Readonly<Record<NodeId, { readonly ssd: TierStats; readonly hdd: TierStats }>>
}

export type Health = 'healthy' | 'degraded' | 'unavailable'

export interface NodeStatus {
  readonly node: NodeId
  readonly block: string
  readonly cvm: 'up' | 'down' | 'hung' | 'draining'
  /** Node whose CVM this host's path leads to. */
  readonly path: NodeId
  readonly devices: ReadonlyArray<
    { readonly id: string; readonly tier: Tier; readonly failed: boolean } & TierStats
  >
}

export interface DiskStatus extends VDiskInfo {
  /**
   * In words: acknowledged data that cannot be found now, since its copies are lost, or on nodes that are down. Absent when
   * nothing is known to be missing. Reads of it fail with `DATA_UNAVAILABLE` or `CHECKSUM_MISMATCH`.
   */
  readonly missingData?: string
  readonly localReadRatio: number
  readonly readBytes: number
  readonly writtenBytes: number
  readonly lastFailover?: {
    readonly at: string
    readonly from: NodeId
    readonly to: NodeId
    /** Time from the last answer before to the first after, as an IO of the host saw it; takeover time when idle. */
    readonly pauseMs: number
  }
}

export interface ClusterStatus {
  readonly health: Health
  readonly reasons: readonly string[]
  readonly nodes: readonly NodeStatus[]
  readonly disks: readonly DiskStatus[]
}
