/** An open vDisk: the public `VDisk` over one host's path. Checks arguments, counts, and retries through the path. */
import type { AllocationRun, SnapshotInfo, VDisk, VDiskStats, WriteOptions } from '../api.ts'
import { diskRangeError } from '../base/disk-range.ts'
import { HitherError } from '../base/errors.ts'
import { IO_BYTES_MAX, type NodeId, type VDiskId } from '../base/units.ts'
import type { Administration } from '../cvm/administration.ts'
import { checkSize } from '../cvm/administration.ts'
import type { HostPath, IoWatcher } from '../cvm/host-path.ts'
import type { StoragePort } from '../cvm/port.ts'
import type { RunIo, SendAttempt, WriteSession } from '../cvm/write-session.ts'
import type { Clock } from '../platform/types.ts'
import type { DiskTrack } from './disk-track.ts'
import { notAwaited } from './not-awaited.ts'

/** Longest time that IO may run on promises alone, ms: over memory devices no IO ever ends in a later turn. */
const TURN_MS = 10

/** Sees to it that the event loop gets a turn now and then, else timers (leases) would starve. One for a cluster. */
export class Turns {
  private readonly clock: Clock
  private lastMs = 0
  /** All who wait for a turn go on together, so that their writes can share a frame. */
  private turn: Promise<void> | undefined

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** A promise to wait for, when it is time. */
  due(): Promise<void> | undefined {
    if (this.turn === undefined && this.clock.now() - this.lastMs > TURN_MS) {
      this.turn = this.clock.turn().then(() => {
        this.lastMs = this.clock.now()
        this.turn = undefined
      })
    }
    return this.turn
  }
}

export interface HandleDeps {
  readonly id: VDiskId
  readonly name: string
  readonly readOnly: boolean
  /** The path it takes first; `moveTo` changes it. */
  readonly path: HostPath
  /** Opened through a certain host: stays there when its VM moves. */
  readonly fixed: boolean
  readonly clock: Clock
  readonly turns: Turns
  readonly track: DiskTrack
  readonly session: WriteSession
  readonly administration: Administration
  /** Size now, as far as this process has heard. */
  readonly size: () => number
  /** Hears of every change of the vDisk's record that was committed before. */
  readonly catchUp: () => Promise<unknown>
  /** Bytes that went over the path. */
  readonly count: (bytes: number) => void
  readonly onClose: (handle: VDiskHandle) => void
}

export class VDiskHandle implements VDisk {
  private readonly deps: HandleDeps
  private path: HostPath
  private closed = false
  private underWay = 0
  private onIdle: (() => void) | undefined
  private reads = 0
  private writes = 0
  private readBytes = 0
  private writtenBytes = 0
  private readonly other: IoWatcher = new CountedIo(this, 'other', 0)
  private readonly runIo: RunIo = (io, watcher) => this.io(io, watcher)

  constructor(deps: HandleDeps) {
    this.deps = deps
    this.path = deps.path
  }

  get id(): VDiskId {
    return this.deps.id
  }

  /** Its VM runs on another host now: IO takes that one's path from here on. */
  moveTo(path: HostPath): void {
    if (!this.deps.fixed) this.path = path
  }

  get name(): string {
    return this.deps.name
  }

  get size(): number {
    return this.deps.size()
  }

  /** Node whose host uses it. */
  get host(): NodeId {
    return this.path.host
  }

  /** Its path leads to the CVM of the host's own node. */
  get isLocal(): boolean {
    return this.path.target === this.path.host
  }

  get readOnly(): boolean {
    return this.deps.readOnly
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const refusal = this.refusal(offset, length, IO_BYTES_MAX)
    if (refusal !== undefined) throw refusal
    const target = new Uint8Array(length)
    await this.readInto(offset, target)
    return target
  }

  readInto(offset: number, target: Uint8Array): Promise<void> {
    const refusal = this.refusal(offset, target.length, IO_BYTES_MAX)
    if (refusal !== undefined) return Promise.reject(refusal)
    if (target.length === 0) return Promise.resolve()
    const { id } = this.deps
    return this.io((port) => port.read(id, offset, target), new CountedIo(this, 'read', target.length))
  }

  write(offset: number, source: Uint8Array, options?: WriteOptions): Promise<void> {
    const refusal = this.refusal(offset, source.length, IO_BYTES_MAX) ?? this.readOnlyRefusal()
    if (refusal !== undefined) return Promise.reject(refusal)
    if (source.length === 0) return Promise.resolve()
    const { id } = this.deps
    const sync = options?.fua === true
    const isAwaited = options?.isAwaited
    const send: SendAttempt = (port, attempt) =>
      isAwaited?.() === false ? Promise.reject(notAwaited()) : port.write(id, offset, source, sync, attempt)
    return this.change(offset, source.length, send, new CountedIo(this, 'write', source.length))
  }

  trim(offset: number, length: number, options?: WriteOptions): Promise<void> {
    const refusal = this.refusal(offset, length, Number.MAX_SAFE_INTEGER) ?? this.readOnlyRefusal()
    if (refusal !== undefined) return Promise.reject(refusal)
    if (length === 0) return Promise.resolve()
    const { id } = this.deps
    const sync = options?.fua === true
    const send: SendAttempt = (port, attempt) => port.erase(id, offset, length, sync, attempt)
    return this.change(offset, length, send, this.other)
  }

  writeZeroes(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.trim(offset, length, options)
  }

  async flush(): Promise<void> {
    this.checkOpen()
    await this.io((port) => port.flush(this.deps.id), this.other)
  }

  async resize(size: number, options?: { discardData?: boolean }): Promise<void> {
    this.checkOpen()
    this.checkWritable()
    checkSize(size)
    const request = { type: 'resize', size, discardData: options?.discardData === true } as const
    await this.io((port) => port.control(this.deps.id, request), this.other)
    // The watch that tells the size may lag: whoever was told that the disk is larger may use what was added.
    await this.deps.catchUp()
  }

  async snapshot(name: string): Promise<SnapshotInfo> {
    this.checkOpen()
    return this.deps.administration.createSnapshot(this.deps.id, name)
  }

  async allocation(offset: number, length: number): Promise<AllocationRun[]> {
    const refusal = this.refusal(offset, length, Number.MAX_SAFE_INTEGER)
    if (refusal !== undefined) throw refusal
    if (length === 0) return []
    return this.io((port) => port.allocation(this.deps.id, offset, length), this.other)
  }

  stats(): VDiskStats {
    return {
      reads: this.reads,
      writes: this.writes,
      readBytes: this.readBytes,
      writtenBytes: this.writtenBytes,
    }
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    if (this.underWay > 0) {
      await new Promise<void>((resolve) => {
        this.onIdle = resolve
      })
    }
    this.deps.onClose(this)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** An IO of this handle has ended. */
  landed(kind: CountedKind, bytes: number, failed: boolean): void {
    const { track, clock, count } = this.deps
    this.underWay--
    if (failed) track.failed()
    else track.answered(clock.now())
    if (!failed && kind !== 'other') {
      if (kind === 'read') {
        this.reads++
        this.readBytes += bytes
      } else {
        this.writes++
        this.writtenBytes += bytes
      }
      count(bytes)
    }
    if (this.underWay === 0) this.onIdle?.()
  }

  private change(offset: number, length: number, send: SendAttempt, counted: IoWatcher): Promise<void> {
    return this.deps.session.write(offset, offset + length, this.runIo, send, counted)
  }

  private io<T>(send: (port: StoragePort) => Promise<T> | undefined, watcher: IoWatcher): Promise<T> {
    const turn = this.deps.turns.due()
    return turn === undefined ? this.start(send, watcher) : turn.then(() => this.start(send, watcher))
  }

  private start<T>(send: (port: StoragePort) => Promise<T> | undefined, watcher: IoWatcher): Promise<T> {
    this.underWay++
    this.deps.track.begin()
    return this.path.run(send, watcher)
  }

  private checkOpen(): void {
    if (this.closed) throw closedError(this.name)
  }

  private checkWritable(): void {
    const refusal = this.readOnlyRefusal()
    if (refusal !== undefined) throw refusal
  }

  private readOnlyRefusal(): HitherError | undefined {
    if (!this.readOnly) return undefined
    return new HitherError('BAD_ARGUMENT', `vDisk ${this.name} is read-only`)
  }

  /** Why the range cannot be used for one IO of at most `most` bytes. */
  private refusal(offset: number, length: number, most: number): HitherError | undefined {
    if (this.closed) return closedError(this.name)
    const error = diskRangeError(this, offset, length)
    if (error !== undefined) return error
    return length > most ? tooLong(length) : undefined
  }
}

type CountedKind = 'read' | 'write' | 'other'

/** What an IO counts as when it ends. */
class CountedIo implements IoWatcher {
  private readonly handle: VDiskHandle
  private readonly kind: CountedKind
  private readonly bytes: number

  constructor(handle: VDiskHandle, kind: CountedKind, bytes: number) {
    this.handle = handle
    this.kind = kind
    this.bytes = bytes
  }

  ended(failure: HitherError | undefined): void {
    this.handle.landed(this.kind, this.bytes, failure !== undefined)
  }
}

function closedError(name: string): HitherError {
  return new HitherError('VDISK_CLOSED', `this handle of vDisk ${name} is closed`)
}

function tooLong(length: number): HitherError {
  return new HitherError('BAD_ARGUMENT', `one IO has at most ${IO_BYTES_MAX} bytes, not ${length}`)
}
