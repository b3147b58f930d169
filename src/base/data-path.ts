/**
 * The contract of what every byte of a write and of a read goes through: zero check, fingerprint, LZ4, checksum.
 *
 * Two implementations keep it, and pass the same tests: `kernel-path.ts` (one WebAssembly module of our own) and
 * `package-path.ts` (npm packages; the oracle of the kernel's tests, and the fallback). `codec.ts` and `hash.ts` hand out
 * the one that was chosen. They agree on every hash, and each reads what the other compressed; the compressed bytes
 * differ, so a run of the simulator repeats exactly only under the same implementation.
 *
 * Ownership. All buffers stay the caller's, are used during the call only, and may be any memory. Nothing is allocated
 * per call but small views. A hash is handed out as two unsigned 32-bit halves in `hashOut`, not as a BigInt: tables,
 * formats and comparisons work on the halves. Nothing here awaits: results that live in shared memory (`hashOut`, the
 * words of `inspectBlocks`, the bytes of `decompressed`) are valid until the next call of any function here, so read them
 * at once.
 *
 * A range that does not lie inside its buffer is a bug of the caller: `INTERNAL`.
 */
import { HitherError, invariant } from './errors.ts'
import { BLOCK_BYTES, SLICE_BLOCKS_MAX } from './units.ts'

/** Longest raw input of one LZ4 block, bytes. */
export const CODEC_RAW_BYTES_MAX = SLICE_BLOCKS_MAX * BLOCK_BYTES
/** No LZ4 block of `CODEC_RAW_BYTES_MAX` is longer: one length byte per 255 literals, and a token. */
const CODEC_STORED_BYTES_MAX = CODEC_RAW_BYTES_MAX + Math.ceil(CODEC_RAW_BYTES_MAX / 255) + 16

/** Blocks of one call of `inspectBlocks`: 1 MiB. */
export const INSPECT_BLOCKS_MAX = 256
/** Words per block in the result of `inspectBlocks`, and which one is what. */
export const INSPECT_WORDS = 4
export const INSPECT_LOW = 0
export const INSPECT_HIGH = 1
/** 1: all zeros (and the hash is not computed); 0: not. */
export const INSPECT_ZERO = 2

/** How this machine lays a number out in memory. */
export const LITTLE_ENDIAN: boolean = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1

/** xxHash64 of the last call that says so: `[high half, low half]`. Read only. */
export const hashOut: Uint32Array = new Uint32Array(2)

export interface DataPath {
  /** xxHash64, seed 0, of `length` bytes from `offset`, any number of them; the result is in `hashOut`. */
  hash64(bytes: Uint8Array, offset: number, length: number): void

  /**
   * Zero check and fingerprint of `count` (1 … INSPECT_BLOCKS_MAX) blocks of 4 KiB from `offset`, in one call. Returns
   * INSPECT_WORDS words per block: `words[i * INSPECT_WORDS + INSPECT_ZERO]`.
   */
  inspectBlocks(bytes: Uint8Array, offset: number, count: number): Uint32Array

  /**
   * Compresses `length` bytes (1 … `CODEC_RAW_BYTES_MAX`) into one LZ4 block at `targetOffset`. Returns its bytes, or 0
   * (and `target` is as before) when it would be longer than `maxBytes`. Never writes past `targetOffset + maxBytes`.
   */
  compressInto(
    source: Uint8Array,
    sourceOffset: number,
    length: number,
    target: Uint8Array,
    targetOffset: number,
    maxBytes: number,
  ): number

  /**
   * Puts `rawBytes` (1 … `CODEC_RAW_BYTES_MAX`, any number of blocks up to 8) as they are to be stored to
   * `targetOffset`: compressed when that saves a sector or more, else raw. Returns the stored bytes: fewer than
   * `rawBytes` means LZ4, equal means raw. Their checksum is in `hashOut`. `target` has `rawBytes` of room.
   */
  packSlice(
    source: Uint8Array,
    sourceOffset: number,
    rawBytes: number,
    target: Uint8Array,
    targetOffset: number,
  ): number

  /**
   * Decompresses `storedBytes` from `source` into exactly `rawBytes` of `target` at `targetOffset`. Throws
   * `CHECKSUM_MISMATCH` (and `target` is as before) when the input is no LZ4 block of that raw length.
   */
  decompressInto(
    source: Uint8Array,
    sourceOffset: number,
    storedBytes: number,
    target: Uint8Array,
    targetOffset: number,
    rawBytes: number,
  ): void

  /**
   * As `decompressInto`, but the raw bytes stay where they are: in memory of this module, valid until the next call of any
   * function here. Read only.
   */
  decompressed(source: Uint8Array, sourceOffset: number, storedBytes: number, rawBytes: number): Uint8Array

  /**
   * The way back of `packSlice`, for what it compressed: checks the stored bytes against their checksum, then
   * decompresses. `false` (and `target` is as before) when the checksum is another. Throws `CHECKSUM_MISMATCH` when the
   * checksum holds and it is no LZ4 block of `rawBytes` all the same: then the writer was wrong.
   */
  unpackSlice(
    source: Uint8Array,
    sourceOffset: number,
    storedBytes: number,
    checksumHi: number,
    checksumLo: number,
    target: Uint8Array,
    targetOffset: number,
    rawBytes: number,
  ): boolean
}

export function malformed(storedBytes: number, rawBytes: number, cause?: unknown): HitherError {
  return new HitherError(
    'CHECKSUM_MISMATCH',
    `${storedBytes} stored bytes are not an LZ4 block of ${rawBytes} raw bytes: the slice is damaged, read another copy`,
    { cause },
  )
}

/** Throws `CHECKSUM_MISMATCH` for lengths that a stored LZ4 block cannot have at all. */
export function checkSizes(storedBytes: number, rawBytes: number): void {
  const isRaw = rawBytes > 0 && rawBytes <= CODEC_RAW_BYTES_MAX
  const isStored = storedBytes > 0 && storedBytes <= CODEC_STORED_BYTES_MAX
  if (!isRaw || !isStored) throw malformed(storedBytes, rawBytes)
}

/** What both implementations refuse of `packSlice`. */
export function checkSlice(rawBytes: number, target: Uint8Array, targetOffset: number): void {
  invariant(rawBytes > 0 && rawBytes <= CODEC_RAW_BYTES_MAX, 'a slice has 1 byte to 32 KiB')
  invariant(targetOffset >= 0 && targetOffset + rawBytes <= target.length, 'the slice fits its target')
}

/** What both implementations refuse of `decompressInto` and `unpackSlice`. */
export function checkStored(
  storedBytes: number,
  rawBytes: number,
  target: Uint8Array,
  targetOffset: number,
): void {
  checkSizes(storedBytes, rawBytes)
  invariant(
    targetOffset >= 0 && targetOffset + rawBytes <= target.length,
    'decompressed bytes fit their target',
  )
}

/** A view of part of `bytes`. A constructor call is cheaper than `subarray`, above all for a Buffer. */
export function part(bytes: Uint8Array, offset: number, length: number): Uint8Array {
  if (offset === 0 && length === bytes.length) return bytes
  invariant(offset >= 0 && length >= 0 && offset + length <= bytes.length, 'a range lies inside its buffer')
  return new Uint8Array(bytes.buffer, bytes.byteOffset + offset, length)
}
