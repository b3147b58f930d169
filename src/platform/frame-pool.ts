/**
 * Memory of frames, or of bytes for one, that are on their way within one process, used again when it is given back. A fresh
 * buffer for each frame of a busy stream is memory that is touched for the first time, and work for the garbage
 * collector: together they were a tenth of the CPU time of a write.
 */
import { KiB, MiB } from '../base/units.ts'

/** Smaller frames are not worth it. */
const LEAST_BYTES = 2 * KiB
/** Larger ones are rare: bulk copies. */
const MOST_BYTES = 2 * MiB
/** Kept for reuse, all together. */
const KEPT_BYTES_MAX = 16 * MiB

export class FramePool {
  /** Free buffers, by size: powers of two. */
  readonly #free = new Map<number, ArrayBuffer[]>()
  readonly #lent = new WeakSet<ArrayBuffer>()
  #keptBytes = 0

  /** Memory for a frame of `length` bytes, all of which the caller writes. */
  take(length: number): Uint8Array {
    if (length < LEAST_BYTES || length > MOST_BYTES) return new Uint8Array(length)
    const size = 1 << (32 - Math.clz32(length - 1))
    const kept = this.#free.get(size)?.pop()
    if (kept !== undefined) this.#keptBytes -= size
    // Not filled with zeros first, as every byte is written.
    const buffer = kept ?? (Buffer.allocUnsafeSlow(size).buffer as ArrayBuffer)
    this.#lent.add(buffer)
    return new Uint8Array(buffer, 0, length)
  }

  /** Nobody uses a view of the frame any more. What was not taken here, or was given back before, is left alone. */
  giveBack(frame: Uint8Array): void {
    const buffer = frame.buffer as ArrayBuffer
    if (!this.#lent.delete(buffer)) return
    const size = buffer.byteLength
    if (this.#keptBytes + size > KEPT_BYTES_MAX) return
    this.#keptBytes += size
    const free = this.#free.get(size)
    if (free === undefined) this.#free.set(size, [buffer])
    else free.push(buffer)
  }
}
