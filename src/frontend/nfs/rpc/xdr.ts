/**
 * XDR (RFC 4506), as far as ONC RPC, MOUNT and NFSv3 use it: big-endian units of four bytes.
 *
 * The reader checks every bound before it looks, trusts no length that the rest of the message cannot hold, and
 * allocates nothing: opaque data comes out as views. What breaks the format throws `XdrError`, which an RPC server
 * answers with GARBAGE_ARGS. The writer grows, and is used again and again.
 */
import { invariant } from '../../../base/errors.ts'

const TWO_32 = 0x1_0000_0000
const INITIAL_BYTES = 4096

/** `length` bytes with their padding: the next multiple of four. */
export function paddedLength(length: number): number {
  return (length + 3) & ~3
}

/** The bytes are not what they should be. */
export class XdrError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'XdrError'
  }
}

/** Reads `bytes` from `at` to `end`. Views that it returns share their memory. */
export class XdrReader {
  readonly bytes: Buffer
  #at: number
  readonly #end: number

  constructor(bytes: Buffer, at = 0, end: number = bytes.length) {
    invariant(at >= 0 && at <= end && end <= bytes.length, 'an XDR reader stays inside its buffer')
    this.bytes = bytes
    this.#at = at
    this.#end = end
  }

  /** Where in `bytes` the next item begins. */
  get at(): number {
    return this.#at
  }

  get remaining(): number {
    return this.#end - this.#at
  }

  u32(): number {
    return this.bytes.readUInt32BE(this.#take(4))
  }

  /** An unsigned hyper. Above 2^53 it loses low bits, which only ever makes an impossible offset another one. */
  u64(): number {
    const at = this.#take(8)
    return this.bytes.readUInt32BE(at) * TWO_32 + this.bytes.readUInt32BE(at + 4)
  }

  bool(): boolean {
    const value = this.u32()
    if (value > 1) throw new XdrError(`${value} is no boolean`)
    return value === 1
  }

  /** A number below `count`. */
  enumeration(count: number): number {
    const value = this.u32()
    if (value >= count) throw new XdrError(`${value} is none of the ${count} values there are`)
    return value
  }

  /** `length` bytes and their padding. */
  fixed(length: number): Buffer {
    const at = this.#take(length)
    this.#skipPadding(length)
    return this.bytes.subarray(at, at + length)
  }

  /** Bytes behind their length, which is at most `lengthMax`. */
  opaque(lengthMax: number): Buffer {
    const length = this.u32()
    if (length > lengthMax) throw new XdrError(`${length} bytes where at most ${lengthMax} may be`)
    return this.fixed(length)
  }

  /** Throws unless everything was read. */
  end(): void {
    if (this.#at !== this.#end) throw new XdrError(`${this.remaining} bytes follow the arguments`)
  }

  #take(length: number): number {
    const at = this.#at
    if (length > this.#end - at) throw new XdrError(`${length} bytes expected, ${this.#end - at} are left`)
    this.#at = at + length
    return at
  }

  #skipPadding(length: number): void {
    const rest = length % 4
    if (rest !== 0) this.#take(4 - rest)
  }
}

/** Appends items to a buffer that grows. */
export class XdrWriter {
  #bytes: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES)
  #length = 0

  /** Bytes written so far. */
  get length(): number {
    return this.#length
  }

  /** Starts over, in the same memory. */
  reset(): void {
    this.#length = 0
  }

  u32(value: number): void {
    const at = this.#take(4)
    this.#bytes.writeUInt32BE(value >>> 0, at)
  }

  /** A whole number from 0 to below 2^53. */
  u64(value: number): void {
    const at = this.#take(8)
    this.#bytes.writeUInt32BE(Math.floor(value / TWO_32), at)
    this.#bytes.writeUInt32BE(value % TWO_32, at + 4)
  }

  bool(value: boolean): void {
    this.u32(value ? 1 : 0)
  }

  /** The bytes and their padding, without a length. */
  fixed(value: Uint8Array): void {
    const padded = paddedLength(value.length)
    const at = this.#take(padded)
    this.#bytes.set(value, at)
    this.#bytes.fill(0, at + value.length, at + padded)
  }

  /** The length, the bytes, the padding. */
  opaque(value: Uint8Array): void {
    this.u32(value.length)
    this.fixed(value)
  }

  /** Overwrites a u32 that was written before. */
  patchU32(at: number, value: number): void {
    invariant(at + 4 <= this.#length, 'a patch lies in what was written')
    this.#bytes.writeUInt32BE(value >>> 0, at)
  }

  /** Forgets everything from `length` on. */
  cutTo(length: number): void {
    invariant(length <= this.#length, 'a cut makes it shorter')
    this.#length = length
  }

  /** What was written, as a view that is valid until the next write. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#length)
  }

  #take(length: number): number {
    const at = this.#length
    const end = at + length
    if (end > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(end, 2 * this.#bytes.length))
      this.#bytes.copy(grown, 0, 0, at)
      this.#bytes = grown
    }
    this.#length = end
    return at
  }
}
