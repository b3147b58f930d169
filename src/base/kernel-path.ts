/**
 * The data path over the kernel (kernel.ts): copy in, one call, copy out, or have the result read where it is. The copies
 * cost 0.1 to 0.2 µs for 4 KiB, and keep everybody's buffers out of the kernel's memory: whatever a damaged block makes the
 * decoder do, it is done to the stage.
 */
import {
  CODEC_RAW_BYTES_MAX,
  checkSizes,
  checkSlice,
  checkStored,
  type DataPath,
  hashOut,
  INSPECT_BLOCKS_MAX,
  INSPECT_WORDS,
  malformed,
  part,
} from './data-path.ts'
import { invariant } from './errors.ts'
import type { Kernel } from './kernel.ts'
import { BLOCK_BYTES, SECTOR_BYTES } from './units.ts'

/** xxHash64 takes its input in stripes of this many bytes. */
const STRIPE_BYTES = 32

export function kernelPath({ exports, memory }: Kernel): DataPath {
  const INPUT = exports.INPUT.value
  const OUTPUT = exports.OUTPUT.value
  const RESULTS = exports.RESULTS.value
  const STAGE_BYTES = exports.STAGE_BYTES.value
  const STAGE_BLOCKS = STAGE_BYTES / BLOCK_BYTES
  const RESULT_BYTES_PER_BLOCK = INSPECT_WORDS * 4
  const buffer = memory.buffer
  // The memory is little endian, and so is this machine: loadKernel saw to it.
  const words = new Uint32Array(buffer, RESULTS, INSPECT_BLOCKS_MAX * INSPECT_WORDS)

  function copyIn(bytes: Uint8Array, offset: number, length: number): void {
    memory.set(part(bytes, offset, length), INPUT)
  }

  function takeHash(): void {
    hashOut[0] = words[1]!
    hashOut[1] = words[0]!
  }

  function hashLong(bytes: Uint8Array, offset: number, length: number): void {
    const tail = length % STRIPE_BYTES
    const end = offset + length - tail
    exports.hashBegin()
    for (let at = offset; at < end; at += STAGE_BYTES) {
      const now = Math.min(STAGE_BYTES, end - at)
      copyIn(bytes, at, now)
      exports.hashPart(INPUT, now)
    }
    copyIn(bytes, end, tail)
    exports.hashEnd(INPUT, tail, length)
  }

  function decompressed(
    source: Uint8Array,
    sourceOffset: number,
    storedBytes: number,
    rawBytes: number,
  ): Uint8Array {
    checkSizes(storedBytes, rawBytes)
    copyIn(source, sourceOffset, storedBytes)
    if (exports.decompress(INPUT, storedBytes, OUTPUT, rawBytes) === 0) throw malformed(storedBytes, rawBytes)
    return new Uint8Array(buffer, OUTPUT, rawBytes)
  }

  return {
    hash64(bytes, offset, length) {
      if (length <= STAGE_BYTES) {
        copyIn(bytes, offset, length)
        exports.hash(INPUT, length)
      } else {
        hashLong(bytes, offset, length)
      }
      takeHash()
    },

    inspectBlocks(bytes, offset, count) {
      invariant(count > 0 && count <= INSPECT_BLOCKS_MAX, '1 to 256 blocks are inspected at once')
      for (let done = 0; done < count; done += STAGE_BLOCKS) {
        const now = Math.min(STAGE_BLOCKS, count - done)
        copyIn(bytes, offset + done * BLOCK_BYTES, now * BLOCK_BYTES)
        exports.inspect(INPUT, now, RESULTS + done * RESULT_BYTES_PER_BLOCK)
      }
      return words
    },

    compressInto(source, sourceOffset, length, target, targetOffset, maxBytes) {
      invariant(length > 0 && length <= CODEC_RAW_BYTES_MAX, 'a slice of 1 byte to 32 KiB is compressed')
      const room = Math.min(maxBytes, target.length - targetOffset, 2 * CODEC_RAW_BYTES_MAX)
      copyIn(source, sourceOffset, length)
      const stored = room > 0 ? exports.compress(INPUT, length, OUTPUT, room) : 0
      if (stored > 0) target.set(new Uint8Array(buffer, OUTPUT, stored), targetOffset)
      return stored
    },

    packSlice(source, sourceOffset, rawBytes, target, targetOffset) {
      checkSlice(rawBytes, target, targetOffset)
      copyIn(source, sourceOffset, rawBytes)
      if (rawBytes > SECTOR_BYTES) {
        const stored = exports.compressAndHash(INPUT, rawBytes, OUTPUT, rawBytes - SECTOR_BYTES)
        if (stored > 0) {
          target.set(new Uint8Array(buffer, OUTPUT, stored), targetOffset)
          takeHash()
          return stored
        }
      }
      target.set(new Uint8Array(buffer, INPUT, rawBytes), targetOffset)
      exports.hash(INPUT, rawBytes)
      takeHash()
      return rawBytes
    },

    decompressed,

    decompressInto(source, sourceOffset, storedBytes, target, targetOffset, rawBytes) {
      checkStored(storedBytes, rawBytes, target, targetOffset)
      target.set(decompressed(source, sourceOffset, storedBytes, rawBytes), targetOffset)
    },

    unpackSlice(source, sourceOffset, storedBytes, checksumHi, checksumLo, target, targetOffset, rawBytes) {
      checkStored(storedBytes, rawBytes, target, targetOffset)
      copyIn(source, sourceOffset, storedBytes)
      const result = exports.verifyAndDecompress(INPUT, storedBytes, checksumHi, checksumLo, OUTPUT, rawBytes)
      if (result === 2) throw malformed(storedBytes, rawBytes)
      if (result !== 0) return false
      target.set(new Uint8Array(buffer, OUTPUT, rawBytes), targetOffset)
      return true
    },
  }
}
