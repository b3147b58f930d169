/**
 * The limit of the packages: hash + LZ4 + copy + checksum of one block after the other in one thread, with nothing around
 * it, and the way back. What the engine adds (map, copies, network, frames, promises) is what it takes longer.
 */
import { crc32 } from 'node:zlib'
import { CODEC_RAW_BYTES_MAX } from '../../src/base/data-path.ts'
import { packagePath } from '../../src/base/package-path.ts'
import { BLOCK_BYTES, MiB } from '../../src/base/units.ts'
import { type DataKind, DataSource, POOL_BYTES } from '../shared/data.ts'
import { driveSync } from '../shared/measure.ts'
import type { Contender } from '../shared/turns.ts'

const SEGMENT_BYTES = 4 * MiB

const packages = await packagePath()

/** Writes blocks of `bytes` into a buffer as large as an egroup. Blocks over 32 KiB are made of slices of that. */
export function writeLimit(name: string, bytes: number, data: DataKind, seconds: number): Contender {
  const source = new DataSource(data)
  const segment = new Uint8Array(SEGMENT_BYTES + CODEC_RAW_BYTES_MAX)
  const sliceBytes = Math.min(bytes, CODEC_RAW_BYTES_MAX)
  let at = 0
  let sums = 0
  const writeSlice = (block: Uint8Array, offset: number): void => {
    packages.hash64(block, offset, sliceBytes)
    const wanted = sliceBytes - sliceBytes / 8
    let stored = packages.compressInto(block, offset, sliceBytes, segment, at, wanted)
    if (stored === 0) {
      segment.set(block.subarray(offset, offset + sliceBytes), at)
      stored = sliceBytes
    }
    sums ^= crc32(segment.subarray(at, at + stored))
    at += stored
    if (at > SEGMENT_BYTES) at = sums === 0 ? 1 : 0
  }
  return {
    name,
    bytes,
    round: () =>
      driveSync(
        () => {
          const block = source.take(bytes)
          for (let offset = 0; offset < bytes; offset += sliceBytes) writeSlice(block, offset)
        },
        seconds,
        'cpu',
      ),
  }
}

/** Reads blocks of 4 KiB back: checksum, decompress, copy out. */
export function readLimit(name: string, data: DataKind, seconds: number): Contender {
  const bytes = BLOCK_BYTES
  const source = new DataSource(data)
  const store = new Uint8Array(POOL_BYTES + bytes)
  const rows: Array<{ from: number; stored: number; sum: number }> = []
  let end = 0
  for (let block = 0; block < POOL_BYTES / bytes; block++) {
    const raw = source.take(bytes)
    let stored = packages.compressInto(raw, 0, bytes, store, end, bytes - bytes / 8)
    if (stored === 0) {
      store.set(raw, end)
      stored = bytes
    }
    rows.push({ from: end, stored, sum: crc32(store.subarray(end, end + stored)) })
    end += stored
  }
  const target = new Uint8Array(bytes)
  return {
    name,
    bytes,
    round: () =>
      driveSync(
        (i) => {
          const { from, stored, sum } = rows[Math.imul(i, 2_654_435_761) & (rows.length - 1)]!
          const view = store.subarray(from, from + stored)
          if (crc32(view) !== sum) throw new Error('the stored bytes changed')
          if (stored === bytes) target.set(view)
          else packages.decompressInto(store, from, stored, target, 0, bytes)
        },
        seconds,
        'cpu',
      ),
  }
}
