/**
 * The data path over the npm packages `xxhash-wasm` and `lz4-wasm-nodejs`: the fallback where the kernel cannot be
 * loaded, and what its tests hold it against.
 *
 * Hash. The public `h64Raw` of the package is used as it is. Its raw wasm export would save 55 of 400 ns for 4 KiB, but
 * the package keeps it to itself, and reaching around it would mean reading its files from disk.
 *
 * LZ4. The package speaks "size prefix + block" and its public calls allocate, copy and slice. Here its raw wasm exports
 * are called instead: input goes into memory that the instance allocates, the result is copied straight to the caller's
 * buffer (4 KiB: 11 instead of 13 µs). The prefix is cut off after compression and put back before decompression, from
 * the raw length that the caller keeps with every slice: so the size that the decoder believes is never one read from a
 * damaged block.
 *
 * Damage. The decoder checks its bounds and fails; a failure may still leave memory behind in the instance (its error
 * text, or anything at all after a trap), so an instance that failed is thrown away and a fresh one is loaded (about a
 * millisecond).
 */
import { createRequire } from 'node:module'
import xxhash from 'xxhash-wasm'
import { isZero } from './bytes.ts'
import {
  CODEC_RAW_BYTES_MAX,
  checkSizes,
  checkSlice,
  checkStored,
  type DataPath,
  hashOut,
  INSPECT_BLOCKS_MAX,
  INSPECT_HIGH,
  INSPECT_LOW,
  INSPECT_WORDS,
  INSPECT_ZERO,
  LITTLE_ENDIAN,
  malformed,
  part,
} from './data-path.ts'
import { invariant } from './errors.ts'
import { BLOCK_BYTES, KiB, SECTOR_BYTES } from './units.ts'

/** One call copies at most this much into the wasm memory (which never shrinks); longer input is streamed. */
const ONE_CALL_BYTES_MAX = 256 * KiB
const LOW_INDEX = LITTLE_ENDIAN ? 0 : 1
const HIGH_INDEX = 1 - LOW_INDEX

/** The exports of the package's wasm, as wasm-bindgen lays them out. `input` is freed by the callee. */
interface Lz4Exports {
  readonly memory: { readonly buffer: ArrayBuffer }
  /** Leaves at `result`: address and length of a new buffer, ours to free. */
  compress(result: number, input: number, inputBytes: number): void
  /** As `compress`; or, in the fourth word, 1 for an error. */
  decompress(result: number, input: number, inputBytes: number): void
  __wbindgen_add_to_stack_pointer(delta: number): number
  __wbindgen_malloc(bytes: number): number
  __wbindgen_free(address: number, bytes: number): void
}

const LZ4_PACKAGE = 'lz4-wasm-nodejs'
const PREFIX_BYTES = 4
const RESULT_WORDS = 4
const RESULT_BYTES = RESULT_WORDS * 4

/** Loads the packages. */
export async function packagePath(): Promise<DataPath> {
  const { hash64, inspectBlocks } = await hashing()
  const { compressInto, decompressInto } = lz4()
  const scratch = new Uint8Array(CODEC_RAW_BYTES_MAX)
  return {
    hash64,
    inspectBlocks,
    compressInto,
    decompressInto,

    decompressed(source, sourceOffset, storedBytes, rawBytes) {
      decompressInto(source, sourceOffset, storedBytes, scratch, 0, rawBytes)
      return part(scratch, 0, rawBytes)
    },

    packSlice(source, sourceOffset, rawBytes, target, targetOffset) {
      checkSlice(rawBytes, target, targetOffset)
      let stored = 0
      if (rawBytes > SECTOR_BYTES) {
        stored = compressInto(source, sourceOffset, rawBytes, target, targetOffset, rawBytes - SECTOR_BYTES)
      }
      if (stored === 0) {
        target.set(part(source, sourceOffset, rawBytes), targetOffset)
        stored = rawBytes
      }
      hash64(target, targetOffset, stored)
      return stored
    },

    unpackSlice(source, sourceOffset, storedBytes, checksumHi, checksumLo, target, targetOffset, rawBytes) {
      checkSizes(storedBytes, rawBytes)
      hash64(source, sourceOffset, storedBytes)
      if (hashOut[0] !== checksumHi || hashOut[1] !== checksumLo) return false
      decompressInto(source, sourceOffset, storedBytes, target, targetOffset, rawBytes)
      return true
    },
  }
}

async function hashing(): Promise<Pick<DataPath, 'hash64' | 'inspectBlocks'>> {
  const api = await xxhash()
  const whole = new BigUint64Array(1)
  const halves = new Uint32Array(whole.buffer)
  const words = new Uint32Array(INSPECT_BLOCKS_MAX * INSPECT_WORDS)

  function hash64(bytes: Uint8Array, offset: number, length: number): void {
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

  return {
    hash64,
    inspectBlocks(bytes, offset, count) {
      invariant(count > 0 && count <= INSPECT_BLOCKS_MAX, '1 to 256 blocks are inspected at once')
      for (let i = 0; i < count; i++) {
        const at = offset + i * BLOCK_BYTES
        const zero = isZero(part(bytes, at, BLOCK_BYTES), 0, BLOCK_BYTES)
        if (!zero) {
          hash64(bytes, at, BLOCK_BYTES)
          words[i * INSPECT_WORDS + INSPECT_LOW] = hashOut[1]!
          words[i * INSPECT_WORDS + INSPECT_HIGH] = hashOut[0]!
        }
        words[i * INSPECT_WORDS + INSPECT_ZERO] = zero ? 1 : 0
      }
      return words
    },
  }
}

function lz4(): Pick<DataPath, 'compressInto' | 'decompressInto'> {
  let exported: Lz4Exports
  /** Address of the four result words, kept on the instance's stack for good. */
  let resultAddress: number
  let memory: Uint8Array
  let result: Int32Array

  load()

  /** A fresh evaluation of the package makes a fresh instance; the old one becomes garbage. */
  function load(): void {
    const require = createRequire(import.meta.url)
    delete require.cache[require.resolve(LZ4_PACKAGE)]
    exported = (require(LZ4_PACKAGE) as { __wasm: Lz4Exports }).__wasm
    resultAddress = exported.__wbindgen_add_to_stack_pointer(-RESULT_BYTES)
    attach()
  }

  /** Views of the wasm memory; they go dead (length 0) whenever it grows. */
  function attach(): void {
    memory = new Uint8Array(exported.memory.buffer)
    result = new Int32Array(exported.memory.buffer, resultAddress, RESULT_WORDS)
  }

  return {
    compressInto(source, sourceOffset, length, target, targetOffset, maxBytes) {
      invariant(length > 0 && length <= CODEC_RAW_BYTES_MAX, 'a slice of 1 byte to 32 KiB is compressed')
      const raw = part(source, sourceOffset, length)
      const input = exported.__wbindgen_malloc(length)
      if (memory.length === 0) attach()
      memory.set(raw, input)
      exported.compress(resultAddress, input, length)
      if (memory.length === 0) attach()
      const output = result[0]! >>> 0
      const outputBytes = result[1]!
      const storedBytes = outputBytes - PREFIX_BYTES
      const fits = storedBytes <= maxBytes && targetOffset + storedBytes <= target.length
      if (fits) target.set(part(memory, output + PREFIX_BYTES, storedBytes), targetOffset)
      exported.__wbindgen_free(output, outputBytes)
      return fits ? storedBytes : 0
    },

    decompressInto(source, sourceOffset, storedBytes, target, targetOffset, rawBytes) {
      checkStored(storedBytes, rawBytes, target, targetOffset)
      const stored = part(source, sourceOffset, storedBytes)
      const inputBytes = storedBytes + PREFIX_BYTES
      const input = exported.__wbindgen_malloc(inputBytes)
      if (memory.length === 0) attach()
      memory[input] = rawBytes
      memory[input + 1] = rawBytes >>> 8
      memory[input + 2] = rawBytes >>> 16
      memory[input + 3] = rawBytes >>> 24
      memory.set(stored, input + PREFIX_BYTES)
      try {
        exported.decompress(resultAddress, input, inputBytes)
      } catch (cause) {
        load()
        throw malformed(storedBytes, rawBytes, cause)
      }
      if (memory.length === 0) attach()
      const output = result[0]! >>> 0
      if (result[3] !== 0 || result[1] !== rawBytes) {
        load()
        throw malformed(storedBytes, rawBytes)
      }
      target.set(part(memory, output, rawBytes), targetOffset)
      exported.__wbindgen_free(output, rawBytes)
    },
  }
}
