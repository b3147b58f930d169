/**
 * LZ4 for slices: one standard LZ4 block, without header or size prefix, of at most 32 KiB of raw bytes.
 *
 * Design. `lz4-wasm-nodejs` speaks "size prefix + block" and its public calls allocate, copy and slice. Here its raw
 * wasm exports are called instead: input goes into memory that the instance allocates, the result is copied straight
 * to the caller's buffer, and nothing but small views is allocated in JavaScript (4 KiB: 11 instead of 13 µs). The
 * prefix is cut off after compression and put back before decompression, from the raw length that the caller keeps
 * with every slice: so the size that the decoder believes is never one read from a damaged block.
 *
 * Damage. Slices are checked by their checksum before they come here, so malformed input is a rare event. The decoder
 * checks its bounds and fails; a failure may still leave memory behind in the instance (its error text, or anything
 * at all after a trap), so an instance that failed is thrown away and a fresh one is loaded (about a millisecond).
 * Damage that is still a valid block of the right length cannot be seen here: that is the checksum's task.
 */
import { createRequire } from 'node:module'
import { HitherError, invariant } from './errors.ts'
import { BLOCK_BYTES, SLICE_BLOCKS_MAX } from './units.ts'

/** Longest raw input of one block, bytes. */
export const CODEC_RAW_BYTES_MAX = SLICE_BLOCKS_MAX * BLOCK_BYTES
/** No LZ4 block of `CODEC_RAW_BYTES_MAX` is longer: one length byte per 255 literals, and a token. */
const STORED_BYTES_MAX = CODEC_RAW_BYTES_MAX + Math.ceil(CODEC_RAW_BYTES_MAX / 255) + 16
const PREFIX_BYTES = 4

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

const PACKAGE = 'lz4-wasm-nodejs'
const RESULT_WORDS = 4
const RESULT_BYTES = RESULT_WORDS * 4

let exported: Lz4Exports
/** Address of the four result words, kept on the instance's stack for good. */
let resultAddress: number
let memory: Uint8Array
let result: Int32Array

load()

/** A fresh evaluation of the package makes a fresh instance; the old one becomes garbage. */
function load(): void {
  const require = createRequire(import.meta.url)
  delete require.cache[require.resolve(PACKAGE)]
  exported = (require(PACKAGE) as { __wasm: Lz4Exports }).__wasm
  resultAddress = exported.__wbindgen_add_to_stack_pointer(-RESULT_BYTES)
  attach()
}

/** Views of the wasm memory; they go dead (length 0) whenever it grows. */
function attach(): void {
  memory = new Uint8Array(exported.memory.buffer)
  result = new Int32Array(exported.memory.buffer, resultAddress, RESULT_WORDS)
}

/**
 * Compresses `length` bytes (1 … `CODEC_RAW_BYTES_MAX`) into `target` at `targetOffset`. Returns the bytes written,
 * or 0 (and `target` is as before) when the result would be longer than `maxBytes`. Never writes past
 * `targetOffset + maxBytes`. Both buffers stay the caller's.
 */
export function compressInto(
  source: Uint8Array,
  sourceOffset: number,
  length: number,
  target: Uint8Array,
  targetOffset: number,
  maxBytes: number,
): number {
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
}

/**
 * Decompresses `storedBytes` from `source` into exactly `rawBytes` of `target` at `targetOffset`. Throws
 * `CHECKSUM_MISMATCH` (and `target` is as before) when the input is no LZ4 block of that raw length.
 */
export function decompressInto(
  source: Uint8Array,
  sourceOffset: number,
  storedBytes: number,
  target: Uint8Array,
  targetOffset: number,
  rawBytes: number,
): void {
  if (
    !(rawBytes > 0 && rawBytes <= CODEC_RAW_BYTES_MAX && storedBytes > 0 && storedBytes <= STORED_BYTES_MAX)
  ) {
    throw malformed(storedBytes, rawBytes)
  }
  invariant(
    targetOffset >= 0 && targetOffset + rawBytes <= target.length,
    'decompressed bytes fit their target',
  )
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
}

function malformed(storedBytes: number, rawBytes: number, cause?: unknown): HitherError {
  return new HitherError(
    'CHECKSUM_MISMATCH',
    `${storedBytes} stored bytes are not an LZ4 block of ${rawBytes} raw bytes: the slice is damaged, read another copy`,
    { cause },
  )
}

function part(bytes: Uint8Array, offset: number, length: number): Uint8Array {
  invariant(offset >= 0 && offset + length <= bytes.length, 'codec range lies inside its buffer')
  return new Uint8Array(bytes.buffer, bytes.byteOffset + offset, length)
}
