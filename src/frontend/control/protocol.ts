/**
 * The control protocol: how the command line talks to a running cluster, over a unix socket beside the data.
 *
 * A message is one line of JSON (UTF-8, ended by `\n`). When its `bytes` is there, exactly so many raw bytes follow the
 * newline: that is how disk contents travel, without base64.
 *
 *     client → server   {"hello":"hither-control","version":1}                 first, once
 *     server → client   {"hello":"hither-control","version":1}                 or an error without id, and the end
 *     client → server   {"id":7,"method":"disk.create","params":{…}}           optional "bytes":n + n raw bytes
 *     server → client   {"id":7,"result":…}                                    optional "bytes":n + n raw bytes
 *                       {"id":7,"error":{"code":"NOT_FOUND","message":"…"}}
 *     server → client   {"id":7,"event":{…}}                                   any number, before a stream's result
 *     client → server   {"cancel":7}                                           ends a stream; it answers a last time
 *
 * The client chooses ids, one per request under way on its connection. Requests run side by side and are answered in
 * any order. Everything is bounded (constants below): a request line, a payload, the requests under way, connections.
 * A peer that breaks these rules gets one error without id (`PROTOCOL_ERROR`) and loses its connection, nothing else.
 */
import type {
  ClusterEvent,
  ClusterStats,
  ClusterStatus,
  ContainerInfo,
  ContainerPolicy,
  CuratorReport,
  ExportOptions,
  NodeId,
  SnapshotInfo,
  VDiskInfo,
} from '../../api.ts'
import { KiB, MiB } from '../../base/units.ts'
import type { ListedFile } from './file-list.ts'

export const CONTROL_HELLO = 'hither-control'
export const CONTROL_VERSION = 1

/** Longest line that a server reads. */
export const REQUEST_LINE_BYTES_MAX = 64 * KiB
/** Longest line that a client reads: the status of very many disks. */
export const RESPONSE_LINE_BYTES_MAX = 64 * MiB
/** Largest payload, and so the largest piece of one transfer request. */
export const TRANSFER_BYTES_MAX = 1 * MiB
/** Requests of one connection that run at a time; the server reads on when one has ended. */
export const REQUESTS_IN_FLIGHT_MAX = 32
/** Streams of one connection. */
export const STREAMS_MAX = 4
/** Disks that one connection has open for import or export. */
export const TRANSFERS_MAX = 16
export const CONNECTIONS_MAX = 64
/** Answers that a slow client has not read, in bytes; above this the server reads no more requests from it. */
export const OUTPUT_BYTES_MAX = 8 * MiB
/** How long a new connection may stay without its hello, ms. */
export const HELLO_DEADLINE_MS = 5_000

/** The doors of one host. `nbd` is missing when they could not be opened; `problem` says why. */
export interface HostDoor {
  readonly node: NodeId
  readonly nbd?: string
  /** Only when NFS is served; with the path of the container `default`. */
  readonly nfs?: string
  readonly problem?: string
}

/** What the control server needs to know about the doors of the process that it is in. */
export interface HostDoors {
  list(): HostDoor[]
  /** Opens the doors of new nodes and closes those of nodes that are gone. */
  refresh(): Promise<void>
}

interface NewDisk {
  name: string
  size: number
  vm?: string | undefined
  node?: NodeId | undefined
  container?: string | undefined
}

/** Every request: its parameters and what it answers. A `Uint8Array` result travels as the payload. */
export interface ControlMethods {
  'cluster.status': { params: Record<string, never>; result: ClusterStatus }
  'cluster.stats': { params: Record<string, never>; result: ClusterStats }
  'cluster.doors': { params: Record<string, never>; result: HostDoor[] }
  'disk.create': { params: NewDisk; result: VDiskInfo }
  'disk.list': { params: Record<string, never>; result: VDiskInfo[] }
  'disk.show': { params: { name: string }; result: VDiskInfo }
  'disk.remove': { params: { name: string }; result: null }
  'disk.resize': { params: { name: string; size: number; discardData?: boolean }; result: VDiskInfo }
  'disk.snapshot': { params: { name: string; snapshot: string }; result: SnapshotInfo }
  'disk.snapshots': { params: { name: string }; result: SnapshotInfo[] }
  'disk.remove-snapshot': { params: { name: string; snapshot: string }; result: null }
  'disk.clone': {
    params: {
      source: string
      name: string
      snapshot?: string | undefined
      vm?: string | undefined
      node?: NodeId | undefined
    }
    result: VDiskInfo
  }
  'vm.list': {
    params: Record<string, never>
    result: Array<{ readonly name: string; readonly node: NodeId }>
  }
  'vm.move': { params: { vm: string; to: NodeId }; result: null }
  'cvm.fail': { params: { node: NodeId; hang?: boolean }; result: null }
  'cvm.recover': { params: { node: NodeId }; result: null }
  'node.add': {
    params: { ssdBytes?: number | undefined; hddBytes?: number | undefined }
    result: HostDoor
  }
  'node.remove': { params: { node: NodeId }; result: null }
  'device.fail': { params: { device: string }; result: null }
  'container.create': {
    params: { name: string; policy: Partial<ContainerPolicy> & { export?: Partial<ExportOptions> } }
    result: ContainerInfo
  }
  'container.export': { params: { name: string; export: Partial<ExportOptions> }; result: ContainerInfo }
  'container.unexport': { params: { name: string }; result: ContainerInfo }
  'container.list': { params: Record<string, never>; result: ContainerInfo[] }
  /** What is in a directory of an exported container, or the file itself. */
  'file.list': {
    params: { container: string; path: string; recursive?: boolean }
    result: ListedFile[]
  }
  'curator.run': { params: Record<string, never>; result: CuratorReport }
  /**
   * Opens a disk to fill it. A disk that is not there is created, and removed again when the connection ends before
   * `transfer.finish`. One that holds data is refused with `UNSAFE` unless `overwrite`. With `growing` the size of the
   * image is not known yet: `size` is only for a new disk, which `transfer.resize` may then change.
   */
  'transfer.import': {
    params: NewDisk & { overwrite?: boolean; growing?: boolean }
    result: { transfer: number; size: number; created: boolean }
  }
  'transfer.export': { params: { name: string }; result: { transfer: number; size: number } }
  /** Runs of the range that hold data, in order; the rest of it reads as zeros. */
  'transfer.runs': {
    params: { transfer: number; offset: number; length: number }
    result: Array<{ offset: number; length: number }>
  }
  'transfer.read': { params: { transfer: number; offset: number; length: number }; result: Uint8Array }
  /** The payload is written at `offset`. */
  'transfer.write': { params: { transfer: number; offset: number }; result: null }
  'transfer.zero': { params: { transfer: number; offset: number; length: number }; result: null }
  /** Only for a disk that this transfer created. Never over written data. */
  'transfer.resize': { params: { transfer: number; size: number }; result: null }
  /** Flushes and closes; the disk stays. */
  'transfer.finish': { params: { transfer: number }; result: null }
  /** Closes, and removes a disk that `transfer.import` had created. */
  'transfer.abandon': { params: { transfer: number }; result: { removed: boolean } }
}

export type ControlMethod = keyof ControlMethods

/** Requests that answer with a stream of events and then an empty result. */
export interface ControlStreams {
  /** The last `recent` events, then, with `follow`, those that come until cancelled. */
  'cluster.events': { params: { recent: number; follow: boolean }; event: ClusterEvent }
}

export type ControlStream = keyof ControlStreams
