/**
 * A device with a write cache that forgets. Writes go to an overlay in memory; `sync` carries them to the device
 * underneath, and a durable write its own sectors only. `crash` is a power loss: of what was not synced, each sector
 * comes through on its own or not at all, in any of the versions written since the last sync, whatever the order of the
 * writes. This object is then dead, as is everything that used it; open a new one over the same device for the time
 * after.
 *
 * A trim takes effect underneath at once, for the sectors wholly inside it: the contract lets trimmed space read as
 * zeros before any sync, and this way engines that trim too early are found out.
 *
 * Aligned writes are in the overlay when `write` returns, so a crash finds also those whose promise has not settled.
 */
import { HitherError } from '../../base/errors.ts'
import { alignDown, alignUp } from '../../base/units.ts'
import { partsLength, rangeError } from '../device-range.ts'
import type { BlockDevice, Random } from '../types.ts'

export class CrashDevice implements BlockDevice {
  readonly id: string
  readonly tier: BlockDevice['tier']
  readonly size: number
  readonly sectorSize: number
  readonly isSparse: boolean
  readonly #inner: BlockDevice
  /** By sector: the versions written since the last sync began, oldest first. */
  readonly #overlay = new Map<number, Uint8Array[]>()
  /** What a running sync is carrying down. */
  #flushing = new Map<number, Uint8Array[]>()
  /** Tail of the chain of everything that touches the device underneath. */
  #last: Promise<unknown> = Promise.resolve()
  #dead = false
  #operationsLeft = Number.POSITIVE_INFINITY

  constructor(inner: BlockDevice) {
    this.#inner = inner
    this.id = inner.id
    this.tier = inner.tier
    this.size = inner.size
    this.sectorSize = inner.sectorSize
    this.isSparse = inner.isSparse === true
  }

  /**
   * Power goes off in the middle of the operation after `count` more writes of either kind, syncs and trims: that one
   * has begun, but it and everything later rejects. Call `crash` for what is then on the medium.
   */
  powerOffAfter(count: number): void {
    this.#operationsLeft = count
  }

  /** Power loss. When it resolves, what came through is on the device underneath. */
  async crash(random: Random): Promise<void> {
    this.#dead = true
    await this.#last
    const unsynced = new Map(this.#flushing)
    for (const [sector, versions] of this.#overlay) {
      unsynced.set(sector, [...(unsynced.get(sector) ?? []), ...versions])
    }
    this.#overlay.clear()
    this.#flushing.clear()
    for (const [sector, versions] of unsynced) {
      const survivor = versions[random.below(versions.length + 1)]
      if (survivor) await this.#inner.write(sector * this.sectorSize, survivor)
    }
    await this.#inner.sync()
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.#check(offset, target.length)
    const end = offset + target.length
    // As it is now: a sync may carry it down, and a write change it, while the device underneath is read.
    const above: Array<readonly [number, Uint8Array]> = []
    for (let at = alignDown(offset, this.sectorSize); at < end; at += this.sectorSize) {
      const content = this.#above(at / this.sectorSize)
      if (content) above.push([at, content])
    }
    await this.#inner.read(offset, target)
    for (const [at, content] of above) {
      const from = Math.max(at, offset)
      target.set(content.subarray(from - at, Math.min(at + this.sectorSize, end) - at), from - offset)
    }
    this.#checkAlive()
  }

  async write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    await this.#writeOver(offset, parts, partsLength(parts))
  }

  async writeDurably(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    const length = partsLength(parts)
    await this.#writeOver(offset, parts, length)
    await this.#chain(async () => {
      this.#checkAlive()
      await this.#carryDown(
        Math.floor(offset / this.sectorSize),
        Math.ceil((offset + length) / this.sectorSize),
      )
    })
    this.#checkAlive()
  }

  async #writeOver(offset: number, parts: Uint8Array | readonly Uint8Array[], length: number): Promise<void> {
    this.#check(offset, length)
    const on = this.#countDown()
    const bytes = joined(parts, length)
    if (offset % this.sectorSize === 0 && length % this.sectorSize === 0) this.#cover(offset, bytes)
    else await this.#chain(() => this.#writeUnaligned(offset, bytes))
    if (!on) throw this.#off()
    // One step on the way, so that a crash can find this write begun and not answered.
    await Promise.resolve()
    this.#checkAlive()
  }

  async sync(): Promise<void> {
    this.#checkAlive()
    if (!this.#countDown()) throw this.#off()
    await this.#chain(async () => {
      this.#checkAlive()
      await this.#carryDown()
    })
    this.#checkAlive()
  }

  async trim(offset: number, length: number): Promise<void> {
    this.#check(offset, length)
    if (!this.#countDown()) throw this.#off()
    const start = alignUp(offset, this.sectorSize)
    const end = alignDown(offset + length, this.sectorSize)
    if (start >= end) return
    await this.#chain(async () => {
      for (let at = start; at < end; at += this.sectorSize) this.#overlay.delete(at / this.sectorSize)
      await this.#inner.trim(start, end - start)
    })
    this.#checkAlive()
  }

  /** The cache outlives its user: without a crash, what was not synced gets to the device underneath in the end. */
  async close(): Promise<void> {
    if (this.#dead) return
    this.#dead = true
    await this.#chain(() => this.#carryDown())
  }

  /** Newest content of a sector that is not underneath yet. */
  #above(sector: number): Uint8Array | undefined {
    return (this.#overlay.get(sector) ?? this.#flushing.get(sector))?.at(-1)
  }

  #cover(offset: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += this.sectorSize) {
      const sector = (offset + at) / this.sectorSize
      const content = bytes.subarray(at, at + this.sectorSize)
      const versions = this.#overlay.get(sector)
      if (versions) versions.push(content)
      else this.#overlay.set(sector, [content])
    }
  }

  /** In the chain, so that no sync carries the sectors at its ends down between the read and the write. */
  async #writeUnaligned(offset: number, bytes: Uint8Array): Promise<void> {
    const start = alignDown(offset, this.sectorSize)
    const whole = new Uint8Array(Math.min(alignUp(offset + bytes.length, this.sectorSize), this.size) - start)
    await this.#inner.read(start, whole)
    for (let at = 0; at < whole.length; at += this.sectorSize) {
      const content = this.#above((start + at) / this.sectorSize)
      if (content) whole.set(content, at)
    }
    whole.set(bytes, offset - start)
    this.#cover(start, whole)
  }

  /** Makes durable what is above in the sectors from `start` to before `end`: all of them, if not given. */
  async #carryDown(start = 0, end = Number.POSITIVE_INFINITY): Promise<void> {
    for (const [sector, versions] of this.#overlay) {
      if (sector < start || sector >= end) continue
      this.#flushing.set(sector, versions)
      this.#overlay.delete(sector)
    }
    for (const [sector, versions] of this.#flushing) {
      await this.#inner.write(sector * this.sectorSize, versions.at(-1)!)
    }
    await this.#inner.sync()
    this.#flushing = new Map()
  }

  #chain(step: () => Promise<void>): Promise<void> {
    const done = this.#last.then(step)
    this.#last = done.catch(() => undefined)
    return done
  }

  #countDown(): boolean {
    this.#operationsLeft -= 1
    if (this.#operationsLeft >= 0) return true
    this.#dead = true
    return false
  }

  #check(offset: number, length: number): void {
    this.#checkAlive()
    const refusal = rangeError(this, offset, length)
    if (refusal) throw refusal
  }

  #checkAlive(): void {
    if (this.#dead) throw this.#off()
  }

  #off(): HitherError {
    return new HitherError('DEVICE_FAILED', `device ${this.id} has no power, or is closed`)
  }
}

/** A copy: the overlay outlives the call. */
function joined(parts: Uint8Array | readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let at = 0
  for (const part of parts instanceof Uint8Array ? [parts] : parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
