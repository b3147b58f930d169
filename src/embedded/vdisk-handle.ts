/** An open vDisk: the public `VDisk` over one host's path. Checks arguments, counts, and retries through the path. */
import type { AllocationRun, SnapshotInfo, VDisk, VDiskStats, WriteOptions } from '../api.ts'
import { HitherError } from '../base/errors.ts'
import { IO_BYTES_MAX, type NodeId, type VDiskId } from '../base/units.ts'
import type { Administration } from '../cvm/administration.ts'
import { checkSize } from '../cvm/administration.ts'
import type { HostPath } from '../cvm/host-path.ts'
import type { StoragePort } from '../cvm/port.ts'
import type { SendAttempt, WriteSession } from '../cvm/write-session.ts'
import type { Clock } from '../platform/types.ts'
import type { DiskTrack } from './disk-track.ts'

/** Longest time that IO may run on promises alone, ms: over memory devices no IO ever ends in a later turn. */
const TURN_MS = 10

/** Sees to it that the event loop gets a turn now and then, else timers (leases) would starve. One for a cluster. */
export class Turns {
  private readonly clock: Clock
  private lastMs = 0

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** A promise to wait for, when it is time. */
  due(): Promise<void> | undefined {
    if (this.clock.now() - this.lastMs <= TURN_MS) return undefined
    return this.clock.turn().then(() => {
      this.lastMs = this.clock.now()
    })
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
    this.checkRange(offset, length)
    if (length > IO_BYTES_MAX) throw tooLong(length)
    const target = new Uint8Array(length)
    await this.readInto(offset, target)
    return target
  }

  async readInto(offset: number, target: Uint8Array): Promise<void> {
    this.checkRange(offset, target.length)
    if (target.length > IO_BYTES_MAX) throw tooLong(target.length)
    if (target.length === 0) return
    await this.io((port) => port.read(this.deps.id, offset, target))
    this.reads++
    this.readBytes += target.length
    this.deps.count(target.length)
  }

  async write(offset: number, source: Uint8Array, options?: WriteOptions): Promise<void> {
    this.checkRange(offset, source.length)
    this.checkWritable()
    if (source.length > IO_BYTES_MAX) throw tooLong(source.length)
    if (source.length === 0) return
    const { id } = this.deps
    const sync = options?.fua === true
    const send: SendAttempt = (port, attempt) => port.write(id, offset, source, sync, attempt)
    await this.change(offset, source.length, send)
    this.writes++
    this.writtenBytes += source.length
    this.deps.count(source.length)
  }

  async trim(offset: number, length: number, options?: WriteOptions): Promise<void> {
    this.checkRange(offset, length)
    this.checkWritable()
    if (length === 0) return
    const { id } = this.deps
    const sync = options?.fua === true
    await this.change(offset, length, (port, attempt) => port.erase(id, offset, length, sync, attempt))
  }

  writeZeroes(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.trim(offset, length, options)
  }

  async flush(): Promise<void> {
    this.checkOpen()
    await this.io((port) => port.flush(this.deps.id))
  }

  async resize(size: number, options?: { discardData?: boolean }): Promise<void> {
    this.checkOpen()
    this.checkWritable()
    checkSize(size)
    const request = { type: 'resize', size, discardData: options?.discardData === true } as const
    await this.io((port) => port.control(this.deps.id, request))
    // The watch that tells the size may lag: whoever was told that the disk is larger may use what was added.
    await this.deps.catchUp()
  }

  async snapshot(name: string): Promise<SnapshotInfo> {
    this.checkOpen()
    return this.deps.administration.createSnapshot(this.deps.id, name)
  }

  async allocation(offset: number, length: number): Promise<AllocationRun[]> {
    this.checkRange(offset, length)
    if (length === 0) return []
    return this.io((port) => port.allocation(this.deps.id, offset, length))
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

  private change(offset: number, length: number, send: SendAttempt): Promise<void> {
    return this.deps.session.write(offset, offset + length, (io) => this.io(io), send)
  }

  private async io<T>(send: (port: StoragePort) => Promise<T>): Promise<T> {
    const { track, clock, turns } = this.deps
    const turn = turns.due()
    if (turn !== undefined) await turn
    this.underWay++
    track.begin()
    try {
      const result = await this.path.run(send)
      track.answered(clock.now())
      return result
    } catch (error) {
      track.failed()
      throw error
    } finally {
      this.underWay--
      if (this.underWay === 0) this.onIdle?.()
    }
  }

  private checkOpen(): void {
    if (this.closed) throw new HitherError('VDISK_CLOSED', `this handle of vDisk ${this.name} is closed`)
  }

  private checkWritable(): void {
    if (this.readOnly) throw new HitherError('BAD_ARGUMENT', `vDisk ${this.name} is read-only`)
  }

  private checkRange(offset: number, length: number): void {
    this.checkOpen()
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
      throw new HitherError(
        'BAD_ARGUMENT',
        `offset ${offset} and length ${length} must be whole and not negative`,
      )
    }
    if (offset + length > this.size) {
      throw new HitherError(
        'OUT_OF_RANGE',
        `${length} bytes at ${offset} reach past the end of vDisk ${this.name} (${this.size} bytes)`,
      )
    }
  }
}

function tooLong(length: number): HitherError {
  return new HitherError('BAD_ARGUMENT', `one IO has at most ${IO_BYTES_MAX} bytes, not ${length}`)
}
