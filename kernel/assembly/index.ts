// The data kernel: what every byte of a write and of a read goes through, over one memory. See
// docs/decisions/0005-fused-kernel.md; the host's side is src/base/kernel.ts.
//
// No function allocates, and none knows where its data lies. A range that the host passes must lie inside the memory
// (input of the compressor, 16 bytes from its ends); nothing that stands in the data can lead outside of the ranges.
import { RESULTS } from './memory'
import { compress } from './lz4-compress'
import { decompress } from './lz4-decompress'
import { hashOf } from './xxhash64'

export { INPUT, OUTPUT, RESULTS, STAGE_BYTES } from './memory'
export { compress } from './lz4-compress'
export { decompress } from './lz4-decompress'
export { hash, hashBegin, hashEnd, hashPart } from './xxhash64'

const BLOCK_BYTES: u32 = 4096
const RESULT_BYTES: usize = 16

/** Whether `bytes` bytes at `from`, a multiple of 64, are all zero: 1 or 0. */
function isZero(from: usize, bytes: u32): u32 {
  const end = from + bytes
  for (let at = from; at < end; at += 64) {
    const low = v128.or(v128.load(at), v128.load(at, 16))
    const high = v128.or(v128.load(at, 32), v128.load(at, 48))
    if (v128.any_true(v128.or(low, high))) return 0
  }
  return 1
}

/**
 * Looks at `count` blocks at `from`. For each, 16 bytes at `result`: its xxHash64 (low half, high half), and 1 when it
 * is all zeros, else 0. A block of zeros is not hashed.
 */
export function inspect(from: usize, count: u32, result: usize): void {
  for (let i: u32 = 0; i < count; i++) {
    const zero = isZero(from, BLOCK_BYTES)
    store<u32>(result, zero, 8)
    if (!zero) store<u64>(result, hashOf(from, BLOCK_BYTES))
    from += BLOCK_BYTES
    result += RESULT_BYTES
  }
}

/** As `compress`, and the block's xxHash64 in the first two words of RESULTS, low half first. */
export function compressAndHash(from: usize, bytes: u32, to: usize, limit: u32): u32 {
  const stored = compress(from, bytes, to, limit)
  if (stored != 0) store<u64>(RESULTS, hashOf(to, stored))
  return stored
}

/**
 * Checks `bytes` at `from` against their xxHash64, then decompresses them. 0: done. 1: another hash. 2: the hash holds,
 * but they are not a block of `rawBytes`.
 */
export function verifyAndDecompress(
  from: usize,
  bytes: u32,
  high: u32,
  low: u32,
  to: usize,
  rawBytes: u32,
): u32 {
  if (hashOf(from, bytes) != ((<u64>high << 32) | low)) return 1
  return decompress(from, bytes, to, rawBytes) != 0 ? 0 : 2
}
