/**
 * xxHash64: the fingerprint of a 4 KiB block and the checksum of slices, frames and records.
 *
 * A 64-bit result is handed out as two unsigned 32-bit halves in `hashOut`, not as a BigInt: tables, formats and
 * comparisons all work on the halves. Nothing here awaits, so the halves stay valid until the next `hash64` of the
 * same thread: read them at once.
 *
 * The public `h64Raw` of the package is used as it is. Its raw wasm export would save 55 of 400 ns for 4 KiB, but
 * the package keeps it to itself, and reaching around it would mean reading its files from disk.
 *
 * xxHash64 is fast, not strong: whoever chooses the bytes can make two blocks collide. An equal fingerprint is a
 * candidate whose bytes must be compared, and a checksum finds accidents, not malice.
 */
import xxhash from 'xxhash-wasm'
import { KiB } from './units.ts'

const api = await xxhash()

/** One call copies at most this much into the wasm memory (which never shrinks); longer input is streamed. */
const ONE_CALL_BYTES_MAX = 256 * KiB

const whole = new BigUint64Array(1)
const halves = new Uint32Array(whole.buffer)
const LOW_INDEX = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? 0 : 1
const HIGH_INDEX = 1 - LOW_INDEX

/** Result of the last `hash64`: `[high half, low half]`. Read only. */
export const hashOut: Uint32Array = new Uint32Array(2)

/** Hashes `length` bytes from `offset` with seed 0; the result is in `hashOut`. `bytes` is only read. */
export function hash64(bytes: Uint8Array, offset: number, length: number): void {
  if (length <= ONE_CALL_BYTES_MAX) {
    whole[0] = api.h64Raw(part(bytes, offset, length))
  } else {
    const stream = api.create64()
    const end = offset + length
    for (let at = offset; at < end; at += ONE_CALL_BYTES_MAX) {
      stream.update(part(bytes, at, Math.min(ONE_CALL_BYTES_MAX, end - at)))
    }
    whole[0] = stream.digest()
  }
  hashOut[0] = halves[HIGH_INDEX]!
  hashOut[1] = halves[LOW_INDEX]!
}

/** Hashes and compares with an expected result, given as two unsigned halves. Leaves the result in `hashOut`. */
export function hashMatches(
  bytes: Uint8Array,
  offset: number,
  length: number,
  high: number,
  low: number,
): boolean {
  hash64(bytes, offset, length)
  return hashOut[0] === high && hashOut[1] === low
}

/** A view of part of `bytes`. A constructor call is cheaper than `subarray`, above all for a Buffer. */
function part(bytes: Uint8Array, offset: number, length: number): Uint8Array {
  if (offset === 0 && length === bytes.length) return bytes
  if (offset < 0 || length < 0 || offset + length > bytes.length) {
    throw new RangeError(`hash of ${length} bytes at ${offset} is outside a buffer of ${bytes.length}`)
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset + offset, length)
}
