/**
 * The seams between the engine and the world. The engine gets a `Platform` by constructor and touches nothing
 * outside it: no `fs`, `net`, `Date`, timers, `Math.random`, worker threads. `real/` and `sim/` implement the same
 * interfaces side by side and pass the same conformance suites (test/conformance/).
 */
import type { NodeId, Tier } from '../base/units.ts'
import type { GuestActivity } from './bulk-work.ts'

/**
 * Raw media. Offsets and lengths are bytes; they need not be aligned, but a write is atomic only per `sectorSize`.
 * Reads of never-written space return zeros. All calls may overlap in time.
 */
export interface BlockDevice {
  /** Unique within the cluster and stable across restarts, e.g. `node-1.ssd0`. */
  readonly id: string
  readonly tier: Tier
  readonly size: number
  readonly sectorSize: number
  /**
   * Space is found for a range when it is written for the first time, so that a durable write there is dearer than one
   * over what is there: a file with holes. Absent: no.
   */
  readonly isSparse?: boolean
  /**
   * Fills `target`. The caller must leave `target` alone until the promise settles.
   * @param use `once`: neither these bytes nor what lies behind them will be wanted again soon
   */
  read(offset: number, target: Uint8Array, use?: ReadUse): Promise<void>
  /** Writes the parts one after the other from `offset`. The parts are the device's until the promise settles. */
  write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void>
  /**
   * As `write`; when it resolves, these bytes are durable, and no others: earlier writes need their `sync` still. After
   * `DEVICE_FULL` they are not there, and the device goes on. After any other failure of the medium nobody knows what of
   * this and of earlier writes is there: it means what a failed `sync` means.
   * @param use `rewritten`: small writes over these bytes will follow soon
   */
  writeDurably(offset: number, parts: Uint8Array | readonly Uint8Array[], use?: WriteUse): Promise<void>
  /**
   * Resolves when everything whose `write` resolved before this call is durable. Concurrent callers share one flush
   * (group commit).
   */
  sync(): Promise<void>
  /** Gives the range back to the medium; it reads as zeros or as before until written again. */
  trim(offset: number, length: number): Promise<void>
  /** Ends all use; later calls reject with `DEVICE_FAILED`. Waits for IO under way. Does not sync. */
  close(): Promise<void>
}

/** What a reader knows of its next reads, and a writer of its next writes. */
export type ReadUse = 'once'
export type WriteUse = 'rewritten'

export interface Clock {
  /** Monotonic milliseconds, with fractions. Only differences mean anything. */
  now(): number
  /** Milliseconds since 1970, for time stamps that people read. Never used for a decision. */
  wall(): number
  /** Resolves after `ms`; rejects with the signal's reason when that fires first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /**
   * Resolves in a later turn of the event loop, after timers and IO that are due had theirs. For loops that would
   * otherwise run on promises alone and starve them.
   */
  turn(): Promise<void>
  /** Calls `fire` once after `ms`; returns what cancels it. A pending timer does not keep the process alive. */
  after(ms: number, fire: () => void): () => void
}

/** Seeded or from the operating system. */
export interface Random {
  /** Uniform in 0 … 2^32−1. */
  u32(): number
  /** Uniform integer in 0 … bound−1. */
  below(bound: number): number
}

/**
 * One endpoint on the external network. It carries whole frames, in order per peer, at most once: no retry, no
 * answer. Request and response live above, in replication/rpc.ts.
 */
export interface Network {
  readonly self: string
  /**
   * Sends the parts as one frame. The parts are read before the call returns: the caller may reuse them at once. A
   * frame to an endpoint that is not there is dropped, and reported through `onPeerDown`.
   */
  send(to: string, parts: readonly Uint8Array[]): void
  /** The receiver owns `frame`. One handler; set before the first frame can arrive. */
  onFrame(handler: (from: string, frame: Uint8Array) => void): void
  /**
   * The receiver has done with a frame, and uses no view of it any more: its memory may carry another. What is not given
   * back is the garbage collector's.
   */
  giveBack(frame: Uint8Array): void
  /** Tells that frames to `peer` are lost because its endpoint is gone (connection refused or reset). */
  onPeerDown(handler: (peer: string) => void): void
  /** Bytes this endpoint has sent, ever. */
  sentBytes(): number
  close(): Promise<void>
}

export interface CatalogEntry {
  readonly key: string
  readonly value: Uint8Array
  /** Revision of the last change of this key; 0 is never used by a key that exists. */
  readonly revision: number
}

export interface CatalogTransaction {
  /** All must hold, else nothing is applied. `revision: 0` means the key must not exist. */
  readonly when?: ReadonlyArray<{ readonly key: string; readonly revision: number }>
  readonly put?: ReadonlyArray<{ readonly key: string; readonly value: Uint8Array; readonly lease?: string }>
  readonly remove?: readonly string[]
}

export interface CatalogResult {
  readonly ok: boolean
  /** Revision of this transaction when `ok`, else the catalog's current one. */
  readonly revision: number
}

export interface CatalogChange {
  readonly key: string
  /** `undefined`: the key was removed, or its lease ended. */
  readonly value: Uint8Array | undefined
  readonly revision: number
}

/**
 * The small, slow, transactional state. Same shape as etcd v3: keys in byte order, revisions that grow by one a
 * transaction, compare-and-set, watches, leases. Values are handed over: neither side changes them afterwards.
 */
export interface Catalog {
  get(key: string): Promise<CatalogEntry | undefined>
  /** All keys that start with `prefix`, in order. */
  list(prefix: string): Promise<CatalogEntry[]>
  /** Resolves when durable. Keys under a lease are not durable: a restart of the catalog ends every lease. */
  commit(transaction: CatalogTransaction): Promise<CatalogResult>
  /** Calls `onChange` with each later change under `prefix`, in order of revision. Returns what ends the watch. */
  watch(prefix: string, onChange: (changes: readonly CatalogChange[]) => void): () => void
  /** Starts a lease; its keys vanish when it ends. */
  grantLease(id: string, ttlMs: number): Promise<void>
  /** Renews; `false` when the lease has already ended. */
  keepLease(id: string): Promise<boolean>
  /** Ends the lease now: its keys vanish. Nothing happens when it has already ended. */
  revokeLease(id: string): Promise<void>
}

/** Part of a write's data that is compressed as one. */
export interface SliceRange {
  readonly offset: number
  /** At most 32 KiB. */
  readonly bytes: number
}

/** Slices as `packSlice` (base/codec.ts) makes them, by their number in the call. Valid until `release`. */
export interface PackedSlices {
  /** LZ4 when shorter than the slice was, else the slice as it was. */
  bytes(slice: number): Uint8Array
  /** Halves of the xxHash64 of `bytes`. */
  checksumHi(slice: number): number
  checksumLo(slice: number): number
  release(): void
}

/** Compresses the slices of large writes on more threads than the one that calls. */
export interface SlicePacker {
  /**
   * `undefined`: it is not worth it; pack them yourself. Never rejects. `data` must stay as it is until it resolves, and
   * holds all slices, 1 MiB of them at most. Others may wait for what it resolves with to be released.
   */
  pack(data: Uint8Array, slices: readonly SliceRange[]): Promise<PackedSlices> | undefined
}

/** Everything one CVM may touch. */
export interface Platform {
  readonly node: NodeId
  readonly clock: Clock
  readonly random: Random
  readonly network: Network
  readonly catalog: Catalog
  readonly devices: readonly BlockDevice[]
  /** What guests do on the thread that runs this CVM. */
  readonly guests: GuestActivity
  /** `undefined`: the thread that runs the engine packs everything. */
  readonly packer?: SlicePacker | undefined
}
