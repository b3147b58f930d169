/** A device that fails on command: errors, slowness, rot. Idle, it passes everything on. */
import { HitherError } from '../../base/errors.ts'
import type { BlockDevice, Clock, ReadUse, WriteUse } from '../types.ts'

export class FaultDevice implements BlockDevice {
  readonly id: string
  readonly tier: BlockDevice['tier']
  readonly size: number
  readonly sectorSize: number
  readonly isSparse: boolean
  /** Every read, write, sync and trim begins so many milliseconds late. */
  slowMs = 0
  readonly #inner: BlockDevice
  readonly #clock: Clock
  #failed = false
  #readsToFail = 0
  #writesToFail = 0
  #syncsToFail = 0

  constructor(inner: BlockDevice, clock: Clock) {
    this.#inner = inner
    this.#clock = clock
    this.id = inner.id
    this.tier = inner.tier
    this.size = inner.size
    this.sectorSize = inner.sectorSize
    this.isSparse = inner.isSparse === true
  }

  /** The device is dead: everything rejects with `DEVICE_FAILED` from now on, IO under way too. */
  failNow(): void {
    this.#failed = true
  }

  /** The next `count` reads reject with `DEVICE_FAILED`. */
  failNextReads(count: number): void {
    this.#readsToFail = count
  }

  /** The next `count` writes, durable or not, reject with `DEVICE_FAILED` and change nothing. */
  failNextWrites(count: number): void {
    this.#writesToFail = count
  }

  /** The next `count` syncs and durable writes reject with `DEVICE_FAILED`; the bytes are written, and not durable. */
  failNextSyncs(count: number): void {
    this.#syncsToFail = count
  }

  /** Flips every bit of the range on the medium underneath, behind everybody's back. */
  async corrupt(offset: number, length: number): Promise<void> {
    const bytes = new Uint8Array(length)
    await this.#inner.read(offset, bytes)
    for (let at = 0; at < length; at++) bytes[at]! ^= 0xff
    await this.#inner.write(offset, bytes)
    await this.#inner.sync()
  }

  read(offset: number, target: Uint8Array, use?: ReadUse): Promise<void> {
    if (this.#readsToFail > 0) {
      this.#readsToFail -= 1
      return Promise.reject(this.#failure('read'))
    }
    return this.#pass('read', () => this.#inner.read(offset, target, use))
  }

  write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    if (this.#writesToFail > 0) {
      this.#writesToFail -= 1
      return Promise.reject(this.#failure('write'))
    }
    return this.#pass('write', () => this.#inner.write(offset, parts))
  }

  writeDurably(offset: number, parts: Uint8Array | readonly Uint8Array[], use?: WriteUse): Promise<void> {
    if (this.#writesToFail > 0 || this.#syncsToFail > 0) {
      return this.write(offset, parts).then(() => this.sync())
    }
    return this.#pass('write', () => this.#inner.writeDurably(offset, parts, use))
  }

  sync(): Promise<void> {
    if (this.#syncsToFail > 0) {
      this.#syncsToFail -= 1
      return Promise.reject(this.#failure('sync'))
    }
    return this.#pass('sync', () => this.#inner.sync())
  }

  trim(offset: number, length: number): Promise<void> {
    return this.#pass('trim', () => this.#inner.trim(offset, length))
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  #pass(what: string, start: () => Promise<void>): Promise<void> {
    if (this.#failed || this.slowMs > 0) return this.#passLate(what, start)
    return start().then(this.#passed)
  }

  /** Made once: it is on the path of every IO. */
  readonly #passed = (): void => {
    if (this.#failed) throw this.#failure('IO')
  }

  async #passLate(what: string, start: () => Promise<void>): Promise<void> {
    if (this.#failed) throw this.#failure(what)
    await this.#clock.sleep(this.slowMs)
    if (this.#failed) throw this.#failure(what)
    await start()
    if (this.#failed) throw this.#failure(what)
  }

  #failure(what: string): HitherError {
    return new HitherError('DEVICE_FAILED', `${what} on device ${this.id}: a fault that was asked for`)
  }
}
