/**
 * One device as the store uses it: opened or formatted, its copy table and free units, and IO by placement.
 *
 * What fails what. A read or write error fails only the operation. A failed sync, durable write or change of the copy
 * table takes the device out of service: after it nobody knows which of the earlier writes are there, and what was
 * acknowledged on it counts as lost until it is formatted again. (A full medium fails only the write, of either kind.) A
 * damaged superblock or table, or a device of another node, is out of service from the start. None of these stops the
 * node.
 */

import { allDone } from '../base/all-done.ts'
import { isZero } from '../base/bytes.ts'
import { asHitherError, codeOf, HitherError, invariant } from '../base/errors.ts'
import { Mutex } from '../base/queue.ts'
import { KiB, MiB, type NodeId, type Tier } from '../base/units.ts'
import type { BlockDevice, ReadUse, WriteUse } from '../platform/types.ts'
import { type CopyEntry, CopyTable } from './copy-table.ts'
import {
  DEVICE_BYTES_MIN,
  decodeSuperblock,
  encodeSuperblock,
  layoutFor,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSETS,
  type Superblock,
  unitsKept,
} from './device-layout.ts'
import { type Placement, UNIT_BYTES } from './placement.ts'
import type { DeviceUsage, SpaceUse } from './types.ts'
import { type Extent, UnitAllocator } from './unit-allocator.ts'

/** Beginning of the copy table that must be zero for a device to count as blank. */
const BLANK_PROBE_BYTES = 64 * KiB

/** Once they are needed. */
let zeros: Uint8Array | undefined

/** Why a device is out of service, in its message. */
const NOT_DURABLE = 'it could not make written data durable'

interface Mounted {
  readonly table: CopyTable
  readonly units: UnitAllocator
  readonly areaOffset: number
}

export class StoreDevice {
  readonly id: string
  readonly tier: Tier
  /** One rewrite at a time, so that the reserve is enough for it. */
  readonly rewriting = new Mutex()
  readonly #device: BlockDevice
  readonly #node: NodeId
  readonly #onFailed: (device: StoreDevice, error: HitherError) => void
  #mounted: Mounted | undefined
  #ioUnderWay = 0
  readonly #ioWaiters: Array<() => void> = []
  #failure: HitherError | undefined
  #syncCalls = 0

  constructor(
    node: NodeId,
    device: BlockDevice,
    onFailed: (device: StoreDevice, error: HitherError) => void,
  ) {
    this.id = device.id
    this.tier = device.tier
    this.#node = node
    this.#device = device
    this.#onFailed = onFailed
  }

  /** Why the device is out of service; `undefined` while it is in service. */
  get failure(): HitherError | undefined {
    return this.#failure
  }

  get freeUnits(): number {
    return this.#mounted === undefined || this.#failure !== undefined ? 0 : this.#mounted.units.freeUnits
  }

  usage(): DeviceUsage {
    const units = this.#mounted?.units
    const areaUnits = units?.units ?? layoutFor(this.#device.size).areaUnits
    return {
      id: this.id,
      tier: this.tier,
      failed: this.#failure !== undefined,
      usedBytes: this.#failure === undefined && units !== undefined ? units.usedUnits * UNIT_BYTES : 0,
      sizeBytes: areaUnits * UNIT_BYTES,
      reservedBytes: unitsKept(areaUnits, 'data') * UNIT_BYTES,
    }
  }

  /** Opens the device, or formats it when blank. Never rejects: what is wrong becomes `failure`. */
  async mount(): Promise<void> {
    try {
      const superblock = (await this.#readSuperblock()) ?? (await this.#writeSuperblocks())
      await this.#mountAs(superblock)
    } catch (error) {
      this.fail(asHitherError(error, 'DEVICE_FAILED'))
    }
  }

  /** Wipes the device, whatever is on it, and mounts it empty. Rejects with the device's error, and is not mounted. */
  async format(): Promise<void> {
    this.#mustBeLargeEnough()
    await this.#wipe()
    await this.#mountAs(await this.#writeSuperblocks())
  }

  /**
   * Ends use of the device: resolves when its IO under way and its table changes are done. The device itself stays
   * open.
   */
  async unmount(): Promise<void> {
    await this.#mounted?.table.close()
    while (this.#ioUnderWay > 0) await new Promise<void>((resolve) => this.#ioWaiters.push(resolve))
  }

  /** Takes the device out of service. Its IO fails from now on. */
  fail(error: HitherError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#onFailed(this, error)
  }

  // Space

  /** Units that could be taken now for `use`. */
  freeUnitsFor(use: SpaceUse): number {
    if (this.#mounted === undefined || this.#failure !== undefined) return 0
    const { units } = this.#mounted
    return Math.max(0, units.freeUnits - unitsKept(units.units, use))
  }

  /** Takes units; leaves alone what is reserved from `use`. `undefined` when there is no room. */
  allocate(units: number, use: SpaceUse): Extent[] | undefined {
    if (this.#failure !== undefined) return undefined
    const area = this.#mustBeMounted().units
    return area.allocate(units, unitsKept(area.units, use))
  }

  /** Takes units that are needed to get space back, from the reserve if need be. */
  allocateFromReserve(units: number): Extent[] | undefined {
    return this.#failure === undefined ? this.#mustBeMounted().units.allocate(units, 0) : undefined
  }

  /** The extents and `units` more, the new ones right behind if they can be. Leaves the reserves alone. */
  extend(extents: readonly Extent[], units: number): Extent[] | undefined {
    if (this.#failure !== undefined) return undefined
    const area = this.#mustBeMounted().units
    return area.extend(extents, units, unitsKept(area.units, 'data'))
  }

  claim(extents: readonly Extent[]): boolean {
    return this.#mustBeMounted().units.claim(extents)
  }

  /** Gives units back that no durable entry names and no reader uses. */
  free(extents: readonly Extent[]): void {
    if (this.#failure === undefined) this.#mustBeMounted().units.free(extents)
  }

  /**
   * A copy gave up these units of its placement, all of them, or for `next` the others: they are free when the last
   * reader of the placement is done.
   */
  retire(placement: Placement, givenUp: readonly Extent[] = placement.extents, next?: Placement): void {
    placement.retire(() => this.free(givenUp), next)
  }

  // Copy table

  entries(): CopyEntry[] {
    return this.#mustBeMounted().table.entries()
  }

  /** Durable when it resolves. `NO_SPACE` when the table is full; any other failure fails the device. */
  putEntry(entry: CopyEntry): Promise<void> {
    return this.#change(() => this.#mustBeMounted().table.put(entry))
  }

  removeEntry(egroup: number): Promise<void> {
    return this.#change(() => this.#mustBeMounted().table.remove(egroup))
  }

  // IO

  /** Fills `target` from `offset` of the log. */
  read(placement: Placement, offset: number, target: Uint8Array, use?: ReadUse): Promise<void> {
    return this.#forPieces(placement, offset, target.length, (at, from, bytes) =>
      this.#device.read(at, bytes === target.length ? target : target.subarray(from, from + bytes), use),
    )
  }

  /** Writes the parts, one after the other, at `offset` of the log. They are the device's until it settles. */
  write(placement: Placement, offset: number, parts: readonly Uint8Array[]): Promise<void> {
    return this.#writePieces(placement, offset, parts, (at, piece) => this.#device.write(at, piece))
  }

  /** As `write`, and these bytes, no earlier ones, are durable when it resolves. */
  writeDurably(
    placement: Placement,
    offset: number,
    parts: readonly Uint8Array[],
    use?: WriteUse,
  ): Promise<void> {
    this.#syncCalls++
    return this.#writePieces(placement, offset, parts, (at, piece) =>
      this.#device.writeDurably(at, piece, use).catch(this.#notDurable),
    )
  }

  readonly #notDurable = (cause: unknown): never => {
    if (codeOf(cause) === 'DEVICE_FULL') throw cause
    throw this.#failed(NOT_DURABLE, cause)
  }

  #writePieces(
    placement: Placement,
    offset: number,
    parts: readonly Uint8Array[],
    write: (deviceOffset: number, piece: readonly Uint8Array[]) => Promise<void>,
  ): Promise<void> {
    let length = 0
    for (const part of parts) length += part.length
    return this.#forPieces(placement, offset, length, (at, from, bytes) =>
      write(at, bytes === length ? parts : cutParts(parts, from, bytes)),
    )
  }

  /**
   * Does IO for each piece of a log range that is contiguous on the device. Settles when all pieces have, so that
   * nothing is under way any more when units are freed after a failure.
   */
  #forPieces(
    placement: Placement,
    offset: number,
    length: number,
    io: (deviceOffset: number, from: number, bytes: number) => Promise<void>,
  ): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#outOfService(this.#failure))
    const areaOffset = this.#mustBeMounted().areaOffset
    const start = placement.startOf(offset, length)
    let done: Promise<void>
    if (start >= 0) {
      done = io(areaOffset + start, 0, length)
    } else {
      const pieces: Promise<void>[] = []
      placement.forRange(offset, length, (at, from, bytes) => {
        pieces.push(io(areaOffset + at, from, bytes))
      })
      done = allDone(pieces)
    }
    this.#ioUnderWay++
    return done.then(this.#ioEnded, this.#ioFailed)
  }

  // Made once, as are the other outcomes here: they are on the path of every IO.
  readonly #ioEnded = (): void => {
    if (--this.#ioUnderWay === 0) for (const wake of this.#ioWaiters.splice(0)) wake()
  }
  readonly #ioFailed = (cause: unknown): never => {
    this.#ioEnded()
    throw asHitherError(cause, 'DEVICE_FAILED')
  }

  /** Space that was never written is dearer to write than other space. */
  get isSparse(): boolean {
    return this.#device.isSparse === true
  }

  /** Writes zeros, durably, where nobody has any bytes. `undefined`: all of it was used before, and nothing is done. */
  zeroFresh(placement: Placement, offset: number, length: number): Promise<void> | undefined {
    const { units } = this.#mustBeMounted()
    let hasFresh = false
    placement.forRange(offset, length, (at, _from, bytes) => {
      hasFresh ||= units.hasFresh(Math.floor(at / UNIT_BYTES), Math.ceil((at + bytes) / UNIT_BYTES))
    })
    if (!hasFresh) return undefined
    if (zeros === undefined || zeros.length < length) zeros = new Uint8Array(length)
    return this.writeDurably(placement, offset, [zeros.subarray(0, length)], 'rewritten')
  }

  /** How often `sync` or `writeDurably` was called, ever: tells a bulk writer whether it is alone. */
  get syncCalls(): number {
    return this.#syncCalls
  }

  /** Everything written before is durable when it resolves. A failure fails the device. */
  async sync(): Promise<void> {
    this.#mustServe()
    this.#syncCalls++
    try {
      await this.#device.sync()
    } catch (cause) {
      throw this.#failed(NOT_DURABLE, cause)
    }
  }

  #mustServe(): void {
    if (this.#failure !== undefined) throw this.#outOfService(this.#failure)
  }

  #outOfService(cause: HitherError): HitherError {
    return new HitherError('DEVICE_FAILED', `device ${this.id} is out of service: ${cause.message}`, {
      cause,
    })
  }

  async #change(change: () => Promise<void>): Promise<void> {
    this.#mustServe()
    try {
      await change()
    } catch (cause) {
      const code = codeOf(cause)
      if (code === 'NO_SPACE' || code === 'DEVICE_FULL') {
        throw new HitherError('NO_SPACE', `the copy table of device ${this.id} is full`, { cause })
      }
      throw this.#failed('its copy table could not be written', cause)
    }
  }

  /** Takes the device out of service, unless it is this CVM that is down. */
  #failed(what: string, cause: unknown): HitherError {
    const reason = asHitherError(cause, 'DEVICE_FAILED')
    if (reason.code === 'CVM_DOWN') return reason
    const error = new HitherError('DEVICE_FAILED', `device ${this.id} failed: ${what}: ${reason.message}`, {
      cause,
    })
    this.fail(error)
    return error
  }

  #mustBeMounted(): Mounted {
    invariant(this.#mounted !== undefined, 'a device in service is mounted')
    return this.#mounted
  }

  // Mounting

  async #mountAs(superblock: Superblock): Promise<void> {
    const { layout } = superblock
    const table = await CopyTable.open(this.#device, layout)
    this.#mounted = { table, units: new UnitAllocator(layout.areaUnits), areaOffset: layout.areaOffset }
  }

  /** `undefined`: the device is blank. A damaged twin is replaced. */
  async #readSuperblock(): Promise<Superblock | undefined> {
    this.#mustBeLargeEnough()
    const twins = new Uint8Array(2 * SUPERBLOCK_BYTES)
    await this.#device.read(0, twins)
    const found = SUPERBLOCK_OFFSETS.map((at) => decodeSuperblock(twins.subarray(at, at + SUPERBLOCK_BYTES)))
    const superblock = found[0] ?? found[1]
    if (superblock === undefined) {
      if (await this.#isBlank(twins)) return undefined
      throw new HitherError(
        'DEVICE_CORRUPT',
        `device ${this.id} holds data, but no superblock of hither that is whole; reformat it if it is ours`,
      )
    }
    this.#mustBeOurs(superblock)
    const damaged = found.indexOf(undefined)
    if (damaged >= 0) {
      await this.#device.write(SUPERBLOCK_OFFSETS[damaged]!, encodeSuperblock(superblock))
      await this.#device.sync()
    }
    return superblock
  }

  async #isBlank(twins: Uint8Array): Promise<boolean> {
    const table = new Uint8Array(BLANK_PROBE_BYTES)
    await this.#device.read(layoutFor(this.#device.size).tableOffset, table)
    return isZero(twins, 0, twins.length) && isZero(table, 0, table.length)
  }

  #mustBeOurs(superblock: Superblock): void {
    if (superblock.node !== this.#node || superblock.device !== this.id) {
      throw new HitherError(
        'DEVICE_CORRUPT',
        `device ${this.id} of ${this.#node} holds the data of device ${superblock.device} of ${superblock.node}`,
      )
    }
    if (superblock.deviceBytes > this.#device.size) {
      throw new HitherError(
        'DEVICE_CORRUPT',
        `device ${this.id} has ${this.#device.size} bytes, but was formatted with ${superblock.deviceBytes}`,
      )
    }
  }

  #mustBeLargeEnough(): void {
    if (this.#device.size >= DEVICE_BYTES_MIN) return
    throw new HitherError(
      'BAD_SETTING',
      `device ${this.id} has ${this.#device.size} bytes; at least ${DEVICE_BYTES_MIN} are needed`,
    )
  }

  /**
   * Makes the device blank. A crash in between leaves it blank, or without a superblock, or with a whole superblock
   * and an empty table: never with a table that names units of another life.
   */
  async #wipe(): Promise<void> {
    const device = this.#device
    const { tableOffset, tableBytes } = layoutFor(device.size)
    const zeros = new Uint8Array(Math.min(tableBytes, MiB))
    for (let done = 0; done < tableBytes; done += zeros.length) {
      await device.write(tableOffset + done, zeros.subarray(0, Math.min(zeros.length, tableBytes - done)))
    }
    await device.sync()
    await device.write(0, zeros.subarray(0, 2 * SUPERBLOCK_BYTES))
    await device.sync()
  }

  /** Formats a blank device. */
  async #writeSuperblocks(): Promise<Superblock> {
    const { size } = this.#device
    const superblock = { node: this.#node, device: this.id, deviceBytes: size, layout: layoutFor(size) }
    for (const at of SUPERBLOCK_OFFSETS) await this.#device.write(at, encodeSuperblock(superblock))
    await this.#device.sync()
    return superblock
  }
}

/** `bytes` of the parts from `from` on, as views. */
function cutParts(parts: readonly Uint8Array[], from: number, bytes: number): Uint8Array[] {
  const cut: Uint8Array[] = []
  let at = 0
  for (const part of parts) {
    const start = Math.max(from - at, 0)
    const end = Math.min(from + bytes - at, part.length)
    if (start < end) cut.push(part.subarray(start, end))
    at += part.length
  }
  return cut
}
