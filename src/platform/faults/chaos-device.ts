/**
 * A device that fails by chance: each operation draws its luck from the settings, which a schedule may change at run
 * time. With everything off, and that is the default, it passes everything on and draws no random number. For faults at
 * an exact moment, see fault-device.ts.
 *
 * A cluster must survive any of these on the devices of at most RF−1 copies of a group, one at a time or together: it
 * answers from another copy, serves no wrong byte, and restores RF.
 * - `latentSectorError`, `bitRot`: the checksum or the error tells; the copy is repaired from another one.
 * - `misdirectedWrite`, `lostWrite`: acknowledged bytes are missing on this copy, and with a misdirected write another
 *   copy of the same device is overwritten; found at the next read or scrub, as rot is.
 * - `slow`, `full`, `dead`: the copy is dropped, writes go on elsewhere with full RF.
 *
 * When the same bytes of a group are hit on all its copies, the bytes are gone. The cluster then cannot do more than
 * *report*: reads fail (`CHECKSUM_MISMATCH`, `DATA_UNAVAILABLE`), with an error-level event, and never with other bytes.
 * `slow`, `full` and `dead` on all devices lose nothing: reads or writes fail until enough of them are back.
 */
import { HitherError } from '../../base/errors.ts'
import { alignDown, alignUp } from '../../base/units.ts'
import { partsLength, rangeError } from '../device-range.ts'
import type { BlockDevice, Clock, Random, ReadUse, WriteUse } from '../types.ts'

export const CHAOS_KINDS = [
  'latentSectorError',
  'bitRot',
  'misdirectedWrite',
  'lostWrite',
  'slow',
  'full',
  'dead',
] as const

export type ChaosKind = (typeof CHAOS_KINDS)[number]

/** Chances are per operation, 0 to 1. All may be changed while the device is in use. */
export interface ChaosSettings {
  /** Of a read: one of its sectors cannot be read any more until it is written again. */
  latentSectorError: number
  /** Of a read or write: one of its bits flips on the medium. */
  bitRot: number
  /** Of a write: it goes to other sectors, and is acknowledged. Half of the time to a place within 1 MiB. */
  misdirectedWrite: number
  /** Of a write: it is acknowledged, and not done. */
  lostWrite: number
  /** Of any operation: it begins late. */
  slow: number
  /** How late, in ms: anything between the two. */
  slowMs: { readonly min: number; readonly max: number }
  /** While true, writes reject with `DEVICE_FULL`. */
  full: boolean
  /** While true, everything rejects with `DEVICE_FAILED`, also what was under way. */
  dead: boolean
  /** Sectors (by the offset of their first byte) that are neither damaged nor made unreadable. Default: none. */
  spare: (offset: number) => boolean
  /** Told of each fault, with the range that it hit: what a checker compares the cluster's events with. */
  onInjected: (kind: ChaosKind, offset: number, length: number) => void
}

/** Settings with all faults off, but for those given. */
export function chaosSettings(given: Partial<ChaosSettings> = {}): ChaosSettings {
  return {
    latentSectorError: 0,
    bitRot: 0,
    misdirectedWrite: 0,
    lostWrite: 0,
    slow: 0,
    slowMs: { min: 10, max: 500 },
    full: false,
    dead: false,
    spare: () => false,
    onInjected: () => undefined,
    ...given,
  }
}

/** Bytes around the right place within which a misdirected write ends half of the time. */
const NEAR_BYTES = 1024 * 1024
/** Places drawn for a misdirected write before it is let go: all of them spared, or the right one. */
const PLACE_DRAWS = 8

export class ChaosDevice implements BlockDevice {
  readonly id: string
  readonly tier: BlockDevice['tier']
  readonly size: number
  readonly sectorSize: number
  readonly isSparse: boolean
  readonly settings: ChaosSettings
  /** Faults so far. `full` and `dead` count the operations refused. */
  readonly injected: Record<ChaosKind, number> = {
    latentSectorError: 0,
    bitRot: 0,
    misdirectedWrite: 0,
    lostWrite: 0,
    slow: 0,
    full: 0,
    dead: 0,
  }
  readonly #inner: BlockDevice
  readonly #clock: Clock
  readonly #random: Random
  readonly #badSectors: Set<number>
  #closed = false
  #operations = 0
  #idle: (() => void)[] = []

  /**
   * `badSectors`: offsets of the sectors that cannot be read. They belong to the medium: hand the same set to the
   * device of the next life.
   */
  constructor(
    inner: BlockDevice,
    clock: Clock,
    random: Random,
    settings: ChaosSettings = chaosSettings(),
    badSectors: Set<number> = new Set(),
  ) {
    this.#inner = inner
    this.#clock = clock
    this.#random = random
    this.settings = settings
    this.#badSectors = badSectors
    this.id = inner.id
    this.tier = inner.tier
    this.size = inner.size
    this.sectorSize = inner.sectorSize
    this.isSparse = inner.isSparse === true
  }

  read(offset: number, target: Uint8Array, use?: ReadUse): Promise<void> {
    return this.#run('read', offset, target.length, async () => {
      if (this.#strikes(this.settings.latentSectorError)) this.#spoilSector(offset, target.length)
      this.#checkReadable(offset, target.length)
      if (this.#strikes(this.settings.bitRot)) await this.#rot(offset, target.length)
      await this.#inner.read(offset, target, use)
    })
  }

  write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    return this.#write(offset, parts, (at) => this.#inner.write(at, parts))
  }

  writeDurably(offset: number, parts: Uint8Array | readonly Uint8Array[], use?: WriteUse): Promise<void> {
    return this.#write(offset, parts, (at) => this.#inner.writeDurably(at, parts, use))
  }

  /** `writeTo`: the same write, at the place that it will go to. */
  #write(
    offset: number,
    parts: Uint8Array | readonly Uint8Array[],
    writeTo: (offset: number) => Promise<void>,
  ): Promise<void> {
    const length = partsLength(parts)
    return this.#run('write', offset, length, async () => {
      if (this.settings.full) {
        this.#count('full', offset, length)
        throw new HitherError('DEVICE_FULL', `device ${this.id} is full: a fault that was asked for`)
      }
      if (length > 0 && this.#strikes(this.settings.lostWrite) && !this.#spares(offset, length)) {
        this.#count('lostWrite', offset, length)
        // Takes the time of an access, and fails where the device underneath would.
        return this.#inner.read(offset, new Uint8Array(0))
      }
      if (length > 0 && this.#strikes(this.settings.misdirectedWrite) && !this.#spares(offset, length)) {
        const place = this.#otherPlace(offset, length)
        if (place !== undefined) {
          this.#count('misdirectedWrite', place, length)
          return this.#writeAt(place, length, writeTo)
        }
      }
      await this.#writeAt(offset, length, writeTo)
      if (this.#strikes(this.settings.bitRot)) await this.#rot(offset, length)
    })
  }

  sync(): Promise<void> {
    return this.#run('sync', 0, 0, () => this.#inner.sync())
  }

  trim(offset: number, length: number): Promise<void> {
    return this.#run('trim', offset, length, () => this.#inner.trim(offset, length))
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#operations > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
    await this.#inner.close()
  }

  async #run(what: string, offset: number, length: number, act: () => Promise<void>): Promise<void> {
    if (this.#closed) throw new HitherError('DEVICE_FAILED', `device ${this.id} is closed`)
    const refusal = rangeError(this, offset, length)
    if (refusal) throw refusal
    this.#checkAlive(what, offset, length)
    this.#operations += 1
    try {
      if (this.#strikes(this.settings.slow)) await this.#dawdle(what, offset, length)
      await act()
      this.#checkAlive(what, offset, length)
    } finally {
      this.#operations -= 1
      if (this.#operations === 0) for (const resolve of this.#idle.splice(0)) resolve()
    }
  }

  /** Written sectors can be read again, when the write covered them whole. */
  async #writeAt(offset: number, length: number, writeTo: (at: number) => Promise<void>): Promise<void> {
    await writeTo(offset)
    for (const sector of this.#badSectors) {
      const end = Math.min(sector + this.sectorSize, this.size)
      if (sector >= offset && end <= offset + length) this.#badSectors.delete(sector)
    }
  }

  async #dawdle(what: string, offset: number, length: number): Promise<void> {
    const { min, max } = this.settings.slowMs
    this.#count('slow', offset, length)
    await this.#clock.sleep(min + ((max - min) * this.#random.u32()) / 2 ** 32)
    this.#checkAlive(what, offset, length)
  }

  #spoilSector(offset: number, length: number): void {
    if (length === 0) return
    const sector = this.#sectorOf(offset + this.#random.below(length))
    if (this.settings.spare(sector)) return
    this.#badSectors.add(sector)
    this.#count('latentSectorError', sector, this.sectorSize)
  }

  #checkReadable(offset: number, length: number): void {
    for (const sector of this.#badSectors) {
      if (sector < offset + length && sector + this.sectorSize > offset) {
        throw new HitherError(
          'DEVICE_FAILED',
          `read on device ${this.id}: the sector at ${sector} is unreadable: a fault that was asked for`,
        )
      }
    }
  }

  /** One byte only is read and written, so that nothing that others write meanwhile gets lost. */
  async #rot(offset: number, length: number): Promise<void> {
    if (length === 0) return
    const at = offset + this.#random.below(length)
    const bit = 1 << this.#random.below(8)
    if (this.settings.spare(this.#sectorOf(at))) return
    const byte = new Uint8Array(1)
    await this.#inner.read(at, byte)
    byte[0]! ^= bit
    await this.#inner.write(at, byte)
    this.#count('bitRot', at, 1)
  }

  /** As far from its sector's start as the right place, and not touching it; `undefined` when none was found. */
  #otherPlace(offset: number, length: number): number | undefined {
    const sector = this.sectorSize
    const within = offset % sector
    for (let draw = 0; draw < PLACE_DRAWS; draw++) {
      let low = 0
      let high = this.size
      if (this.#random.below(2) === 0) {
        low = Math.max(0, alignDown(offset - within - Math.min(NEAR_BYTES, offset - within), sector))
        high = Math.min(this.size, offset + length + NEAR_BYTES)
      }
      const places = Math.floor((high - low - within - length) / sector) + 1
      if (places < 1) continue
      const place = low + this.#random.below(places) * sector + within
      if (Math.abs(place - offset) < alignUp(within + length, sector)) continue
      if (!this.#spares(place, length)) return place
    }
    return undefined
  }

  /** Whether any sector of the range is spared. */
  #spares(offset: number, length: number): boolean {
    for (let sector = this.#sectorOf(offset); sector < offset + length; sector += this.sectorSize) {
      if (this.settings.spare(sector)) return true
    }
    return false
  }

  #sectorOf(offset: number): number {
    return alignDown(offset, this.sectorSize)
  }

  #strikes(chance: number): boolean {
    return chance > 0 && this.#random.u32() < chance * 2 ** 32
  }

  #checkAlive(what: string, offset: number, length: number): void {
    if (!this.settings.dead) return
    this.#count('dead', offset, length)
    throw new HitherError(
      'DEVICE_FAILED',
      `${what} on device ${this.id}, which is dead: a fault that was asked for`,
    )
  }

  #count(kind: ChaosKind, offset: number, length: number): void {
    this.injected[kind] += 1
    this.settings.onInjected(kind, offset, length)
  }
}
