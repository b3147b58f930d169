/**
 * Buffers for read targets, for payloads that arrive, and for batches of replies. A fresh `Buffer` costs
 * ten times a recycled one, and its pages are faulted in again each time. One pool serves all connections of a door.
 *
 * Each buffer has `HEADROOM_BYTES` before the room that was asked for, so that a reply's header can be put right in
 * front of its data and both leave as one part. Sizes of the room are powers of two from 4 KiB to 4 MiB; what is larger
 * is allocated as asked, and left to the garbage collector. The pool keeps at most `keepBytes` idle.
 */
import { KiB, MiB } from '../../base/units.ts'

/** Before the room of every buffer. Room for any reply header; a cache line, so that the data stays aligned. */
export const HEADROOM_BYTES = 64
const SMALLEST_BYTES = 4 * KiB
const SMALLEST_SHIFT = 12
const LARGEST_BYTES = 4 * MiB
const CLASSES = 11

export class BufferPool {
  readonly #keepBytes: number
  #idleBytes = 0
  readonly #idle: Buffer[][] = Array.from({ length: CLASSES }, () => [])

  /** `keepBytes`: how much may lie idle. */
  constructor(keepBytes: number) {
    this.#keepBytes = keepBytes
  }

  /** Bytes that lie idle now. */
  get idleBytes(): number {
    return this.#idleBytes
  }

  /**
   * A buffer with room for at least `length` bytes behind the headroom, and with whatever was in it. The caller owns it
   * until `give`.
   */
  take(length: number): Buffer {
    if (length > LARGEST_BYTES) return Buffer.allocUnsafeSlow(HEADROOM_BYTES + length)
    const index = classOf(length)
    const buffer = this.#idle[index]!.pop()
    if (buffer === undefined) return Buffer.allocUnsafeSlow(HEADROOM_BYTES + (SMALLEST_BYTES << index))
    this.#idleBytes -= buffer.length
    return buffer
  }

  /** Gives back a buffer exactly as `take` returned it. Nothing may still read or write it. */
  give(buffer: Buffer): void {
    const length = buffer.length - HEADROOM_BYTES
    if (length > LARGEST_BYTES || this.#idleBytes + buffer.length > this.#keepBytes) return
    this.#idle[classOf(length)]!.push(buffer)
    this.#idleBytes += buffer.length
  }
}

/** Index of the smallest class that holds `length` bytes. */
function classOf(length: number): number {
  return length <= SMALLEST_BYTES ? 0 : 32 - Math.clz32(length - 1) - SMALLEST_SHIFT
}
