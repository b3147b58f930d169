/**
 * xxHash64: the fingerprint of a 4 KiB block and the checksum of slices, frames and records. The contract is in
 * `data-path.ts`.
 *
 * xxHash64 is fast, not strong: whoever chooses the bytes can make two blocks collide. An equal fingerprint is a
 * candidate whose bytes must be compared, and a checksum finds accidents, not malice.
 */
import { chosenPath } from './chosen-path.ts'
import { hashOut } from './data-path.ts'

export {
  hashOut,
  INSPECT_BLOCKS_MAX,
  INSPECT_HIGH,
  INSPECT_LOW,
  INSPECT_WORDS,
  INSPECT_ZERO,
} from './data-path.ts'

export const { hash64, inspectBlocks } = chosenPath

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
