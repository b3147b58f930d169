/**
 * A device in memory: what `memory:` clusters and most tests run on. Sparse, so that a large one costs what is
 * written to it and no more: space is taken in chunks of 64 KiB, when first written, and given back by `trim` in
 * whole chunks. Chunks are cut from slabs, which go when the last of their chunks does: the operating system has few
 * places for buffers of their own. A write is "durable" at once; wrap it in faults/crash-device.ts to lose what was not synced.
 */
import { HitherError } from '../../base/errors.ts'
import { KiB, MiB, SECTOR_BYTES, type Tier } from '../../base/units.ts'
import { partsLength, rangeError } from '../device-range.ts'
import type { BlockDevice } from '../types.ts'

const CHUNK_BYTES = 64 * KiB
const SLAB_BYTES = 1 * MiB

export interface MemoryDeviceOptions {
  readonly id: string
  readonly tier: Tier
  /** Bytes. */
  readonly size: number
  /** Bytes. Default 512. */
  readonly sectorSize?: number
}

export class MemoryDevice implements BlockDevice {
  readonly id: string
  readonly tier: Tier
  readonly size: number
  readonly sectorSize: number
  readonly #chunks = new Map<number, Uint8Array>()
  #slab = new ArrayBuffer(0)
  #slabUsed = 0
  #closed = false

  constructor(options: MemoryDeviceOptions) {
    this.id = options.id
    this.tier = options.tier
    this.size = options.size
    this.sectorSize = options.sectorSize ?? SECTOR_BYTES
  }

  /** Bytes of memory that hold contents now. */
  get allocatedBytes(): number {
    return this.#chunks.size * CHUNK_BYTES
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    const refusal = this.#refusal(offset, target.length)
    if (refusal) return Promise.reject(refusal)
    let done = 0
    while (done < target.length) {
      const position = offset + done
      const start = position % CHUNK_BYTES
      const length = Math.min(CHUNK_BYTES - start, target.length - done)
      const chunk = this.#chunks.get((position - start) / CHUNK_BYTES)
      if (chunk) target.set(chunk.subarray(start, start + length), done)
      else target.fill(0, done, done + length)
      done += length
    }
    return Promise.resolve()
  }

  write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    const refusal = this.#refusal(offset, partsLength(parts))
    if (refusal) return Promise.reject(refusal)
    if (parts instanceof Uint8Array) {
      this.#put(offset, parts)
    } else {
      let position = offset
      for (const part of parts) {
        this.#put(position, part)
        position += part.length
      }
    }
    return Promise.resolve()
  }

  writeDurably(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    return this.write(offset, parts)
  }

  sync(): Promise<void> {
    const refusal = this.#refusal(0, 0)
    return refusal ? Promise.reject(refusal) : Promise.resolve()
  }

  /** The range reads as zeros; chunks wholly inside it are given back. */
  trim(offset: number, length: number): Promise<void> {
    const refusal = this.#refusal(offset, length)
    if (refusal) return Promise.reject(refusal)
    const end = offset + length
    for (let position = offset; position < end; ) {
      const start = position % CHUNK_BYTES
      const run = Math.min(CHUNK_BYTES - start, end - position)
      const index = (position - start) / CHUNK_BYTES
      if (run === CHUNK_BYTES) this.#chunks.delete(index)
      else this.#chunks.get(index)?.fill(0, start, start + run)
      position += run
    }
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.#closed = true
    this.#chunks.clear()
    return Promise.resolve()
  }

  #put(offset: number, source: Uint8Array): void {
    let done = 0
    while (done < source.length) {
      const position = offset + done
      const start = position % CHUNK_BYTES
      const length = Math.min(CHUNK_BYTES - start, source.length - done)
      const index = (position - start) / CHUNK_BYTES
      let chunk = this.#chunks.get(index)
      if (!chunk) {
        chunk = this.#takeChunk()
        this.#chunks.set(index, chunk)
      }
      chunk.set(done === 0 && length === source.length ? source : source.subarray(done, done + length), start)
      done += length
    }
  }

  #takeChunk(): Uint8Array {
    if (this.#slabUsed === this.#slab.byteLength) {
      this.#slab = new ArrayBuffer(SLAB_BYTES)
      this.#slabUsed = 0
    }
    const chunk = new Uint8Array(this.#slab, this.#slabUsed, CHUNK_BYTES)
    this.#slabUsed += CHUNK_BYTES
    return chunk
  }

  #refusal(offset: number, length: number): HitherError | undefined {
    if (this.#closed) return new HitherError('DEVICE_FAILED', `device ${this.id} is closed`)
    return rangeError(this, offset, length)
  }
}
