/**
 * Memory for what reads bring in.
 *
 * A buffer of its own for each small read would cost the allocator and the garbage collector more than the read of a cached
 * block costs in all; so they are cut from slabs, and a slab goes when the last of its pieces does. Whoever keeps a piece
 * for long copies it.
 *
 * Scattered slots that are read with one call have gaps between them, which may be most of it. Of such a run the slots are
 * copied, and its memory is used again: else the collector is called for by what nobody asked for.
 */
import { KiB } from '../base/units.ts'
import { FramePool } from '../platform/frame-pool.ts'

/** Small enough for the allocator to use again at once: larger ones are fresh pages each time. */
const SLAB_BYTES = 64 * KiB
/** Longer reads have a buffer of their own. */
const PIECE_BYTES_MAX = 16 * KiB

/** A longer run of which so small a part was asked for is worth copying. */
const SPARSE_SHARE = 0.5

/** Of runs, until their slots are copied. Whatever may still be read into is not given back. */
export const runMemory = new FramePool()

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

/** Whether the run is better read into `runMemory`. @param wantedBytes of its slots */
export function isSparse(runBytes: number, wantedBytes: number): boolean {
  return runBytes > PIECE_BYTES_MAX && wantedBytes < runBytes * SPARSE_SHARE
}

/** A copy of part of `run`, in memory of its own. */
export function copyOf(run: Uint8Array, from: number, length: number): Uint8Array {
  const bytes = readBuffer(length)
  bytes.set(run.subarray(from, from + length))
  return bytes
}
