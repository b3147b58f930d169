/**
 * The NBD protocol's numbers, and the few byte layouts that are used in more than one place. Everything on the wire
 * is big-endian. Names are the protocol document's without the `NBD_` prefix, so that a reader can look them up.
 *
 *     option         IHAVEOPT(8) option(4) length(4) data
 *     option reply   0x3e889045565a9(8) option(4) type(4) length(4) data
 *     request        magic(4) flags(2) command(2) cookie(8) offset(8) length(4) [payload of a WRITE]
 *     simple reply   magic(4) error(4) cookie(8) [data of a READ]
 *     reply chunk    magic(4) flags(2) type(2) cookie(8) length(4) payload
 */
import { IO_BYTES_MAX, KiB } from '../../base/units.ts'

// Handshake

/** `NBDMAGIC`, then `IHAVEOPT`: what the server says first, in two halves. */
export const GREETING_MAGIC = 'NBDMAGIC'
export const OPTION_MAGIC = 'IHAVEOPT'
export const OPTION_MAGIC_HIGH = 0x49484156
export const OPTION_MAGIC_LOW = 0x454f5054
export const OPTION_REPLY_MAGIC_HIGH = 0x0003e889
export const OPTION_REPLY_MAGIC_LOW = 0x045565a9

export const HANDSHAKE_FIXED_NEWSTYLE = 1 << 0
export const HANDSHAKE_NO_ZEROES = 1 << 1

export const OPTION_HEADER_BYTES = 16
export const OPTION_REPLY_HEADER_BYTES = 20
/** The zeroes after the answer to `EXPORT_NAME`, unless the client waived them. */
export const EXPORT_NAME_PADDING_BYTES = 124
/** Longest string that the protocol allows. */
export const STRING_BYTES_MAX = 4096

export const OPT_EXPORT_NAME = 1
export const OPT_ABORT = 2
export const OPT_LIST = 3
export const OPT_STARTTLS = 5
export const OPT_INFO = 6
export const OPT_GO = 7
export const OPT_STRUCTURED_REPLY = 8
export const OPT_LIST_META_CONTEXT = 9
export const OPT_SET_META_CONTEXT = 10

export const REP_ACK = 1
export const REP_SERVER = 2
export const REP_INFO = 3
export const REP_META_CONTEXT = 4
export const REP_ERR_UNSUP = 0x8000_0001
export const REP_ERR_INVALID = 0x8000_0003
export const REP_ERR_UNKNOWN = 0x8000_0006
export const REP_ERR_SHUTDOWN = 0x8000_0007
export const REP_ERR_TOO_BIG = 0x8000_0009

export const INFO_EXPORT = 0
export const INFO_NAME = 1
export const INFO_DESCRIPTION = 2
export const INFO_BLOCK_SIZE = 3

export const FLAG_HAS_FLAGS = 1 << 0
export const FLAG_READ_ONLY = 1 << 1
export const FLAG_SEND_FLUSH = 1 << 2
export const FLAG_SEND_FUA = 1 << 3
export const FLAG_SEND_TRIM = 1 << 5
export const FLAG_SEND_WRITE_ZEROES = 1 << 6
export const FLAG_SEND_DF = 1 << 7
export const FLAG_CAN_MULTI_CONN = 1 << 8
export const FLAG_SEND_CACHE = 1 << 10
export const FLAG_SEND_FAST_ZERO = 1 << 11

export const BASE_ALLOCATION = 'base:allocation'
/** The id by which block status replies name `base:allocation`. Ours to choose. */
export const BASE_ALLOCATION_ID = 1

// Transmission

export const REQUEST_MAGIC = 0x25609513
export const SIMPLE_REPLY_MAGIC = 0x67446698
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef

export const REQUEST_HEADER_BYTES = 28
export const SIMPLE_REPLY_BYTES = 16
export const CHUNK_HEADER_BYTES = 20

export const CMD_READ = 0
export const CMD_WRITE = 1
export const CMD_DISC = 2
export const CMD_FLUSH = 3
export const CMD_TRIM = 4
export const CMD_CACHE = 5
export const CMD_WRITE_ZEROES = 6
export const CMD_BLOCK_STATUS = 7

export const CMD_FLAG_FUA = 1 << 0
export const CMD_FLAG_NO_HOLE = 1 << 1
export const CMD_FLAG_DF = 1 << 2
export const CMD_FLAG_REQ_ONE = 1 << 3
export const CMD_FLAG_FAST_ZERO = 1 << 4

export const CHUNK_FLAG_DONE = 1 << 0
export const CHUNK_NONE = 0
export const CHUNK_OFFSET_DATA = 1
export const CHUNK_BLOCK_STATUS = 5
export const CHUNK_ERROR = 0x8001

export const STATE_HOLE = 1 << 0
export const STATE_ZERO = 1 << 1

export const EPERM = 1
export const EIO = 5
export const EINVAL = 22
export const ENOSPC = 28
export const EOVERFLOW = 75
export const ENOTSUP = 95
export const ESHUTDOWN = 108

// What this door tells about itself

/** Any offset and length is served. */
export const BLOCK_SIZE_MIN = 1
export const BLOCK_SIZE_PREFERRED = 4 * KiB
/** Largest payload of one READ or WRITE. */
export const PAYLOAD_BYTES_MAX = IO_BYTES_MAX

const TWO_32 = 2 ** 32

/** Reads 64 bits as a number. Above 2^53 it loses low bits, which only ever makes an impossible offset another one. */
export function readU64(source: Buffer, at: number): number {
  return source.readUInt32BE(at) * TWO_32 + source.readUInt32BE(at + 4)
}

/** Writes a non-negative integer below 2^53 as 64 bits. */
export function writeU64(target: Buffer, value: number, at: number): void {
  target.writeUInt32BE(Math.floor(value / TWO_32), at)
  target.writeUInt32BE(value % TWO_32, at + 4)
}

/** One whole option reply. */
export function encodeOptionReply(option: number, type: number, data?: Buffer): Buffer {
  const reply = Buffer.allocUnsafe(OPTION_REPLY_HEADER_BYTES + (data?.length ?? 0))
  reply.writeUInt32BE(OPTION_REPLY_MAGIC_HIGH, 0)
  reply.writeUInt32BE(OPTION_REPLY_MAGIC_LOW, 4)
  reply.writeUInt32BE(option, 8)
  reply.writeUInt32BE(type, 12)
  reply.writeUInt32BE(data?.length ?? 0, 16)
  data?.copy(reply, OPTION_REPLY_HEADER_BYTES)
  return reply
}

/** Writes the 16 bytes of a simple reply at `at`. */
export function writeSimpleReply(
  target: Buffer,
  at: number,
  error: number,
  cookieHigh: number,
  cookieLow: number,
): void {
  target.writeUInt32BE(SIMPLE_REPLY_MAGIC, at)
  target.writeUInt32BE(error, at + 4)
  target.writeUInt32BE(cookieHigh, at + 8)
  target.writeUInt32BE(cookieLow, at + 12)
}

/** Writes the 20 bytes that start a structured reply's only (and so last) chunk at `at`. */
export function writeOnlyChunk(
  target: Buffer,
  at: number,
  type: number,
  cookieHigh: number,
  cookieLow: number,
  payloadBytes: number,
): void {
  target.writeUInt32BE(STRUCTURED_REPLY_MAGIC, at)
  target.writeUInt16BE(CHUNK_FLAG_DONE, at + 4)
  target.writeUInt16BE(type, at + 6)
  target.writeUInt32BE(cookieHigh, at + 8)
  target.writeUInt32BE(cookieLow, at + 12)
  target.writeUInt32BE(payloadBytes, at + 16)
}
