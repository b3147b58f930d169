/**
 * Memory for what small reads bring in. A buffer of its own for each would cost the allocator and the garbage collector
 * more than the read of a cached block costs in all; so they are cut from slabs, and a slab goes when the last of its
 * pieces does. Whoever keeps a piece for long copies it.
 */
import { KiB } from '../base/units.ts'

/** Small enough for the allocator to use again at once: larger ones are fresh pages each time. */
const SLAB_BYTES = 64 * KiB
/** Longer reads have a buffer of their own. */
const PIECE_BYTES_MAX = 16 * KiB

let slab = new ArrayBuffer(0)
let used = 0

/** `length` bytes, with anything in them: the caller writes them all. */
export function readBuffer(length: number): Uint8Array {
  if (length > PIECE_BYTES_MAX) return new Uint8Array(length)
  if (used + length > slab.byteLength) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES).buffer as ArrayBuffer
    used = 0
  }
  const piece = new Uint8Array(slab, used, length)
  used += length
  return piece
}
