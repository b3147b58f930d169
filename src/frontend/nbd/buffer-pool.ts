/**
 * Buffers for read targets, for payloads that arrive in pieces, and for batches of replies. A fresh `Buffer` costs
 * ten times a recycled one, and its pages are faulted in again each time. One pool serves all connections of a door.
 *
 * Sizes are powers of two from 4 KiB to 4 MiB; what is larger is allocated as asked, and left to the garbage collector. The
 * pool keeps at most `keepBytes` idle.
 */
import { KiB, MiB } from '../../base/units.ts'

const CLASS_SHIFT_MIN = 12
const CLASS_SHIFT_MAX = 22
const SMALLEST_BYTES = 4 * KiB
const LARGEST_BYTES = 4 * MiB

export class BufferPool {
  readonly #keepBytes: number
  #idleBytes = 0
  readonly #idle: Buffer[][] = Array.from({ length: CLASS_SHIFT_MAX - CLASS_SHIFT_MIN + 1 }, () => [])

  /** `keepBytes`: how much may lie idle. */
  constructor(keepBytes: number) {
    this.#keepBytes = keepBytes
  }

  /** Bytes that lie idle now. */
  get idleBytes(): number {
    return this.#idleBytes
  }

  /** A buffer of at least `length` bytes, with whatever was in it. The caller owns it until `give`. */
  take(length: number): Buffer {
    if (length > LARGEST_BYTES) return Buffer.allocUnsafeSlow(length)
    const index = classOf(length)
    const buffer = this.#idle[index]!.pop()
    if (buffer === undefined) return Buffer.allocUnsafeSlow(SMALLEST_BYTES << index)
    this.#idleBytes -= buffer.length
    return buffer
  }

  /** Gives back a buffer exactly as `take` returned it. Nothing may still read or write it. */
  give(buffer: Buffer): void {
    if (buffer.length > LARGEST_BYTES || this.#idleBytes + buffer.length > this.#keepBytes) return
    this.#idle[classOf(buffer.length)]!.push(buffer)
    this.#idleBytes += buffer.length
  }
}

/** Index of the smallest class that holds `length` bytes. */
function classOf(length: number): number {
  return length <= SMALLEST_BYTES ? 0 : 32 - Math.clz32(length - 1) - CLASS_SHIFT_MIN
}
