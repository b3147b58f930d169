/**
 * The replies of the transmission phase, encoded into a `ReplyWriter`. The form depends on what the client negotiated:
 *
 * | reply | simple replies | structured replies |
 * |---|---|---|
 * | done, no payload | simple | simple: allowed, and four bytes shorter |
 * | data of a READ | simple, data behind it | one chunk OFFSET_DATA (NONE when empty) |
 * | block status | never asked for | one chunk BLOCK_STATUS |
 * | error | simple | one chunk ERROR, with a sentence |
 *
 * A READ is answered in one chunk always, so the flag DF needs no care. Holes go out as zeroes: to find them
 * would cost every read a look at the map; clients that want to skip them ask for the block status.
 */
import type { AllocationRun } from '../../api.ts'
import { invariant } from '../../base/errors.ts'
import { HEADROOM_BYTES } from '../socket/buffer-pool.ts'
import { COPY_BYTES_MAX, type ReplyWriter } from '../socket/reply-writer.ts'
import { encodeMessage } from './errors.ts'
import {
  BASE_ALLOCATION_ID,
  CHUNK_BLOCK_STATUS,
  CHUNK_ERROR,
  CHUNK_HEADER_BYTES,
  CHUNK_NONE,
  CHUNK_OFFSET_DATA,
  SIMPLE_REPLY_BYTES,
  STATE_HOLE,
  STATE_ZERO,
  writeOnlyChunk,
  writeSimpleReply,
  writeU64,
} from './wire.ts'

const OFFSET_BYTES = 8
const EXTENT_BYTES = 8
const ERROR_FIXED_BYTES = 6

/** Which request a reply is for: the client's 64 bits. */
export interface Cookie {
  readonly cookieHigh: number
  readonly cookieLow: number
}

/** Success without a payload. */
export function replyDone(out: ReplyWriter, cookie: Cookie): void {
  const at = out.reserve(SIMPLE_REPLY_BYTES)
  writeSimpleReply(out.buffer, at, 0, cookie.cookieHigh, cookie.cookieLow)
}

export function replyError(
  out: ReplyWriter,
  cookie: Cookie,
  errno: number,
  message: string,
  structured: boolean,
): void {
  if (!structured) {
    const at = out.reserve(SIMPLE_REPLY_BYTES)
    writeSimpleReply(out.buffer, at, errno, cookie.cookieHigh, cookie.cookieLow)
    return
  }
  const text = encodeMessage(message)
  const payloadBytes = ERROR_FIXED_BYTES + text.length
  const at = out.reserve(CHUNK_HEADER_BYTES + payloadBytes)
  writeOnlyChunk(out.buffer, at, CHUNK_ERROR, cookie.cookieHigh, cookie.cookieLow, payloadBytes)
  out.buffer.writeUInt32BE(errno, at + CHUNK_HEADER_BYTES)
  out.buffer.writeUInt16BE(text.length, at + CHUNK_HEADER_BYTES + 4)
  text.copy(out.buffer, at + CHUNK_HEADER_BYTES + ERROR_FIXED_BYTES)
}

/**
 * The answer to a READ: `data`, which lies in `pooled` right behind the headroom. Returns `true` when the data was
 * copied: the caller may use `pooled` again. Else it belongs to the writer until it is sent.
 */
export function replyData(
  out: ReplyWriter,
  request: Cookie & { readonly offset: number },
  data: Buffer,
  pooled: Buffer,
  structured: boolean,
): boolean {
  const length = data.length
  const headerBytes = structured ? CHUNK_HEADER_BYTES + OFFSET_BYTES : SIMPLE_REPLY_BYTES
  if (length > COPY_BYTES_MAX) {
    writeDataHeader(pooled, HEADROOM_BYTES - headerBytes, request, length, structured)
    out.append(pooled.subarray(HEADROOM_BYTES - headerBytes, HEADROOM_BYTES + length), pooled)
    return false
  }
  const at = out.reserve(headerBytes + length)
  writeDataHeader(out.buffer, at, request, length, structured)
  data.copy(out.buffer, at + headerBytes)
  return true
}

function writeDataHeader(
  target: Buffer,
  at: number,
  request: Cookie & { readonly offset: number },
  length: number,
  structured: boolean,
): void {
  if (!structured) {
    writeSimpleReply(target, at, 0, request.cookieHigh, request.cookieLow)
    return
  }
  writeOnlyChunk(target, at, CHUNK_OFFSET_DATA, request.cookieHigh, request.cookieLow, OFFSET_BYTES + length)
  writeU64(target, request.offset, at + CHUNK_HEADER_BYTES)
}

/** The answer to a READ of nothing. */
export function replyNoData(out: ReplyWriter, cookie: Cookie, structured: boolean): void {
  if (!structured) {
    replyDone(out, cookie)
    return
  }
  const at = out.reserve(CHUNK_HEADER_BYTES)
  writeOnlyChunk(out.buffer, at, CHUNK_NONE, cookie.cookieHigh, cookie.cookieLow, 0)
}

/** The answer to a BLOCK_STATUS: the first `runsMax` of `runs`, of which there must be one. */
export function replyBlockStatus(
  out: ReplyWriter,
  cookie: Cookie,
  runs: readonly AllocationRun[],
  runsMax: number,
): void {
  const count = Math.min(runs.length, runsMax)
  invariant(count > 0, 'a vDisk told no allocation of a range that is not empty')
  const payload = Buffer.allocUnsafe(4 + count * EXTENT_BYTES)
  payload.writeUInt32BE(BASE_ALLOCATION_ID, 0)
  for (let i = 0, at = 4; i < count; i += 1, at += EXTENT_BYTES) {
    const run = runs[i]!
    payload.writeUInt32BE(run.length, at)
    payload.writeUInt32BE(run.data ? 0 : STATE_HOLE | STATE_ZERO, at + 4)
  }
  const at = out.reserve(CHUNK_HEADER_BYTES)
  writeOnlyChunk(out.buffer, at, CHUNK_BLOCK_STATUS, cookie.cookieHigh, cookie.cookieLow, payload.length)
  out.append(payload, undefined)
}
