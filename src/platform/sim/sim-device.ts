/**
 * A device in virtual time. `SimMedium` is the hardware with its volatile write cache, and outlives every CVM that uses
 * it; `open` gives the `BlockDevice` of one life. Closing that leaves the cache as it is, as the end of a process leaves
 * a kernel's page cache; only `powerLoss` loses what was not synced.
 *
 * Times come from a model: `queueDepth` operations are served at once, first come first served, and share one
 * bandwidth: each waits for a free place, then takes its access time and its share of the transfers. A read or write happens
 * in one instant, at its end; a power loss before that finds a write begun, durable or not, and any of its sectors written.
 *
 * A flush that runs covers the writes that had ended when it began. Callers that come meanwhile share the next one. A
 * durable write takes as long as a write and a flush, and hardens no other.
 */
import { HitherError } from '../../base/errors.ts'
import { SECTOR_BYTES, type Tier } from '../../base/units.ts'
import { partsLength, rangeError } from '../device-range.ts'
import type { BlockDevice, Random } from '../types.ts'
import { CachedSectors } from './cached-sectors.ts'
import {
  accessMs,
  type DeviceModel,
  type DeviceOperation,
  overrideModel,
  transferMs,
} from './device-models.ts'
import type { SimLoop } from './loop.ts'

export interface SimMediumOptions {
  readonly id: string
  readonly tier: Tier
  /** Bytes. */
  readonly size: number
  /** Bytes. Default 512. */
  readonly sectorSize?: number
  /** What it says of itself; it is as fast as before. Default `false`. */
  readonly isSparse?: boolean
}

/** An operation that has begun. */
interface UnderWay {
  readonly cancel: () => void
  /** Leaves what the operation would have done in the cache, for the power loss to tear. */
  readonly tear: () => void
  readonly fail: (error: HitherError) => void
}

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: HitherError) => void
}

export class SimMedium {
  readonly id: string
  readonly tier: Tier
  readonly size: number
  readonly sectorSize: number
  readonly isSparse: boolean
  readonly #loop: SimLoop
  readonly #random: Random
  readonly #model: DeviceModel
  readonly #sectors: CachedSectors
  /** Virtual time at which each place of the queue is free. */
  readonly #freeAt: Float64Array
  #bandwidthFreeAt = 0
  /** Where the arm is. */
  #lastOffset = 0
  /** Grows with each power loss: a device of an older one is dead. */
  #powerLosses = 0
  /** In the order of their calls. */
  readonly #underWay = new Set<UnderWay>()
  #flushing = false
  /** Who waits for the flush after the one that runs. */
  #nextFlush: Waiter[] = []

  constructor(options: SimMediumOptions, loop: SimLoop, random: Random, model: DeviceModel) {
    this.id = options.id
    this.tier = options.tier
    this.size = options.size
    this.sectorSize = options.sectorSize ?? SECTOR_BYTES
    this.isSparse = options.isSparse ?? false
    this.#loop = loop
    this.#random = random
    // Whatever its size, the medium stands for a whole drive: its ends are a full stroke apart.
    this.#model = model.seek ? overrideModel(model, { seek: { strokeBytes: options.size } }) : model
    this.#sectors = new CachedSectors(this.size, this.sectorSize, model.cacheBytes)
    this.#freeAt = new Float64Array(model.queueDepth)
  }

  /** Bytes of memory that hold contents now. */
  get allocatedBytes(): number {
    return this.#sectors.allocatedBytes
  }

  /** Bytes written since the last sync: what a power loss could undo. */
  get unsyncedBytes(): number {
    return this.#sectors.unsyncedBytes
  }

  /** The device of one life. IO that an earlier life left under way still ends, as in a kernel. */
  open(): BlockDevice {
    return new SimDevice(this)
  }

  /**
   * The host loses its power, now: of what was not synced, each sector comes through or not, in any version written
   * since the last sync; writes under way may be torn. Every device of this medium that is open is dead, and what it had
   * under way rejects with `DEVICE_FAILED`. Open a new one for the time after.
   */
  powerLoss(): void {
    this.#powerLosses += 1
    const underWay = [...this.#underWay]
    this.#underWay.clear()
    for (const operation of underWay) {
      operation.cancel()
      operation.tear()
    }
    this.#sectors.powerLoss(this.#random)
    this.#freeAt.fill(0)
    this.#bandwidthFreeAt = 0
    this.#lastOffset = 0
    this.#flushing = false
    for (const waiter of this.#nextFlush.splice(0)) waiter.reject(noPower(this.id))
    for (const operation of underWay) operation.fail(noPower(this.id))
  }

  /** Which stretch between power losses this is. */
  get life(): number {
    return this.#powerLosses
  }

  // The hardware side, for the devices of this medium: ranges are checked, and the power is on.

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.#serve('read', offset, target.length, () => this.#sectors.read(offset, target), nothing)
  }

  write(offset: number, parts: readonly Uint8Array[], length: number): Promise<void> {
    const cover = (): void => this.#sectors.write(offset, parts, length, false)
    return this.#serve('write', offset, length, cover, cover)
  }

  writeDurably(offset: number, parts: readonly Uint8Array[], length: number): Promise<void> {
    const harden = (): void => this.#sectors.write(offset, parts, length, true)
    const cover = (): void => this.#sectors.write(offset, parts, length, false)
    return this.#serve('durable write', offset, length, harden, cover)
  }

  trim(offset: number, length: number): Promise<void> {
    const clear = (): void => this.#sectors.trim(offset, length)
    return this.#serve('trim', offset, length, clear, clear)
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#nextFlush.push({ resolve, reject })
      if (!this.#flushing) this.#startFlush()
    })
  }

  /** For all who wait now. */
  #startFlush(): void {
    const waiters = this.#nextFlush.splice(0)
    const mark = this.#sectors.mark()
    const harden = (): void => {
      this.#sectors.harden(mark)
      this.#flushing = false
      for (const waiter of waiters) waiter.resolve()
      if (this.#nextFlush.length > 0) this.#startFlush()
    }
    const fail = (error: HitherError): void => {
      for (const waiter of waiters) waiter.reject(error)
    }
    this.#flushing = true
    this.#begin('sync', 0, 0, harden, nothing, fail)
  }

  #serve(
    operation: DeviceOperation,
    offset: number,
    length: number,
    act: () => void,
    tear: () => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        act()
        resolve()
      }
      this.#begin(operation, offset, length, end, tear, reject)
    })
  }

  /** Queues the operation; `end` happens at its end, or, after a power loss before that, `tear` and then `fail`. */
  #begin(
    operation: DeviceOperation,
    offset: number,
    length: number,
    end: () => void,
    tear: () => void,
    fail: (error: HitherError) => void,
  ): void {
    const endsIn = this.#schedule(operation, offset, length) - this.#loop.now
    const cancel = this.#loop.after(endsIn, () => {
      this.#underWay.delete(entry)
      end()
    })
    const entry: UnderWay = { cancel, tear, fail }
    this.#underWay.add(entry)
  }

  /** Virtual time at which the operation will have ended. */
  #schedule(operation: DeviceOperation, offset: number, length: number): number {
    const freeAt = this.#freeAt
    let place = 0
    for (let other = 1; other < freeAt.length; other++) if (freeAt[other]! < freeAt[place]!) place = other
    const start = Math.max(this.#loop.now, freeAt[place]!)
    let end = start + accessMs(this.#model, operation, offset, this.#lastOffset, this.#random)
    if (operation !== 'sync' && operation !== 'trim') {
      const transfer = transferMs(this.#model, operation, length)
      // Booked from the start on, not from the first byte: else one slow access would hold up all that come after it.
      this.#bandwidthFreeAt = Math.max(start, this.#bandwidthFreeAt) + transfer
      end = Math.max(end + transfer, this.#bandwidthFreeAt)
      this.#lastOffset = offset + length
    }
    freeAt[place] = end
    return end
  }
}

/** One life of a medium. */
class SimDevice implements BlockDevice {
  readonly id: string
  readonly tier: Tier
  readonly size: number
  readonly sectorSize: number
  readonly isSparse: boolean
  readonly #medium: SimMedium
  readonly #life: number
  #closed = false
  #operations = 0
  #idle: (() => void)[] = []

  constructor(medium: SimMedium) {
    this.#medium = medium
    this.#life = medium.life
    this.id = medium.id
    this.tier = medium.tier
    this.size = medium.size
    this.sectorSize = medium.sectorSize
    this.isSparse = medium.isSparse
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.#run(offset, target.length, () => this.#medium.read(offset, target))
  }

  write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    const length = partsLength(parts)
    return this.#run(offset, length, () =>
      this.#medium.write(offset, parts instanceof Uint8Array ? [parts] : parts, length),
    )
  }

  writeDurably(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    const length = partsLength(parts)
    return this.#run(offset, length, () =>
      this.#medium.writeDurably(offset, parts instanceof Uint8Array ? [parts] : parts, length),
    )
  }

  sync(): Promise<void> {
    return this.#run(0, 0, () => this.#medium.sync())
  }

  trim(offset: number, length: number): Promise<void> {
    return this.#run(offset, length, () => this.#medium.trim(offset, length))
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#operations > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
  }

  async #run(offset: number, length: number, start: () => Promise<void>): Promise<void> {
    const refusal = this.#refusal() ?? rangeError(this, offset, length)
    if (refusal) throw refusal
    this.#operations += 1
    try {
      await start()
    } finally {
      this.#operations -= 1
      if (this.#operations === 0) for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  #refusal(): HitherError | undefined {
    if (this.#closed) return new HitherError('DEVICE_FAILED', `device ${this.id} is closed`)
    return this.#life === this.#medium.life ? undefined : noPower(this.id)
  }
}

function noPower(id: string): HitherError {
  return new HitherError('DEVICE_FAILED', `device ${id} lost its power: what was open must be opened again`)
}

function nothing(): void {}
