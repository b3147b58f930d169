/** A device whose `close` ends this use of it only: the one underneath goes on, for the next life of its user. */
import { HitherError } from '../../base/errors.ts'
import type { BlockDevice, ReadUse, WriteUse } from '../types.ts'

export class KeptDevice implements BlockDevice {
  readonly id: string
  readonly tier: BlockDevice['tier']
  readonly size: number
  readonly sectorSize: number
  readonly isSparse: boolean
  readonly #inner: BlockDevice
  #closed = false

  constructor(inner: BlockDevice) {
    this.#inner = inner
    this.id = inner.id
    this.tier = inner.tier
    this.size = inner.size
    this.sectorSize = inner.sectorSize
    this.isSparse = inner.isSparse === true
  }

  read(offset: number, target: Uint8Array, use?: ReadUse): Promise<void> {
    return this.#closed ? this.#refusal() : this.#inner.read(offset, target, use)
  }

  write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    return this.#closed ? this.#refusal() : this.#inner.write(offset, parts)
  }

  writeDurably(offset: number, parts: Uint8Array | readonly Uint8Array[], use?: WriteUse): Promise<void> {
    return this.#closed ? this.#refusal() : this.#inner.writeDurably(offset, parts, use)
  }

  sync(): Promise<void> {
    return this.#closed ? this.#refusal() : this.#inner.sync()
  }

  trim(offset: number, length: number): Promise<void> {
    return this.#closed ? this.#refusal() : this.#inner.trim(offset, length)
  }

  close(): Promise<void> {
    this.#closed = true
    return Promise.resolve()
  }

  #refusal(): Promise<never> {
    return Promise.reject(new HitherError('DEVICE_FAILED', `device ${this.id} is closed`))
  }
}
