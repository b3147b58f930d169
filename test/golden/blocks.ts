/**
 * What the disks of a scenario hold: blocks of 4 KiB that are wholly given by a value and by their place on the disk. They do
 * not compress, and no two places of a disk are alike, so a scenario that writes 4 MiB stores 4 MiB. Two disks that hold the
 * same value at the same place hold the same bytes there: they dedupe.
 */
import { BLOCK_BYTES, type BlockIndex } from '../../src/base/units.ts'

/** What a block reads as when it is not one that a scenario has written. */
export const GARBLED = -1

/** Blocks of `value` from block `first`; value 0 is zeros. */
export function blocksOf(value: number, first: BlockIndex, count: number): Uint8Array {
  const bytes = new Uint8Array(count * BLOCK_BYTES)
  if (value === 0) return bytes
  const words = new Uint32Array(bytes.buffer)
  const perBlock = BLOCK_BYTES / 4
  for (let block = 0; block < count; block++) {
    let state = (Math.imul(value, 0x9e3779b1) ^ Math.imul(first + block + 1, 0x85ebca77)) | 1
    for (let word = 1; word < perBlock; word++) {
      // xorshift32, which reaches every value but 0 and has no short cycle.
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      words[block * perBlock + word] = state
    }
    words[block * perBlock] = value
  }
  return bytes
}

/** The value of each block; `GARBLED` where the bytes are not all those of the value. */
export function valuesOf(bytes: Uint8Array, first: BlockIndex): number[] {
  const values: number[] = []
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const block = Buffer.from(bytes.buffer, bytes.byteOffset + at, BLOCK_BYTES)
    const value = block.readUInt32LE(0)
    const expected = blocksOf(value, first + at / BLOCK_BYTES, 1)
    values.push(block.equals(expected) ? value : GARBLED)
  }
  return values
}
