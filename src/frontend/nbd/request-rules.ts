/**
 * What the protocol says of a request before anything is done with it: which flags a command may carry, which ranges it
 * may name, and with which error each breach is answered. Pure; the order of the checks decides which error wins.
 */
import { BLOCK_BYTES, MiB } from '../../base/units.ts'
import { beyondEndErrno, changesData } from './errors.ts'
import type { RequestHeader } from './request-parser.ts'
import {
  CMD_BLOCK_STATUS,
  CMD_CACHE,
  CMD_FLAG_DF,
  CMD_FLAG_FAST_ZERO,
  CMD_FLAG_FUA,
  CMD_FLAG_NO_HOLE,
  CMD_FLAG_REQ_ONE,
  CMD_FLUSH,
  CMD_READ,
  CMD_TRIM,
  CMD_WRITE,
  CMD_WRITE_ZEROES,
  EINVAL,
  ENOTSUP,
  EOVERFLOW,
  EPERM,
  PAYLOAD_BYTES_MAX,
} from './wire.ts'

/** A CACHE request is served in steps of this many bytes, each read and thrown away. */
export const CACHE_STEP_BYTES = 1 * MiB
/** Memory that a BLOCK_STATUS request may take, about: its runs and their encoded form. */
const BLOCK_STATUS_COST_BYTES = 8 * MiB

/** What a request was refused for; `errno` 0 means that nothing is wrong with it. */
export interface Refusal {
  readonly errno: number
  readonly message: string
}

/** Of the export and of what the client negotiated. */
export interface RequestContext {
  readonly size: number
  readonly readOnly: boolean
  readonly structuredReplies: boolean
  readonly blockStatus: boolean
}

const FINE: Refusal = { errno: 0, message: '' }

/** The error that `request` deserves, if any. */
export function judge(request: RequestHeader, context: RequestContext): Refusal {
  const { command, flags, offset, length } = request
  const allowed = allowedFlags(command, context)
  if (allowed < 0) return { errno: EINVAL, message: `command ${command} is not known here` }
  if ((flags & ~allowed) !== 0) {
    return {
      errno: EINVAL,
      message: `flags 0x${(flags & ~allowed).toString(16)} do not go with this command`,
    }
  }
  if (command === CMD_FLUSH) {
    return offset === 0 && length === 0
      ? FINE
      : { errno: EINVAL, message: 'a flush must have offset 0 and length 0' }
  }
  if (context.readOnly && changesData(command)) return { errno: EPERM, message: 'this export is read-only' }
  if (offset + length > context.size) {
    return {
      errno: beyondEndErrno(command),
      message: `offset ${offset} + ${length} bytes is beyond the end at ${context.size}`,
    }
  }
  if (command === CMD_READ && length > PAYLOAD_BYTES_MAX) {
    // EOVERFLOW for a read is only defined where structured replies are.
    return {
      errno: context.structuredReplies ? EOVERFLOW : EINVAL,
      message: `a read may have at most ${PAYLOAD_BYTES_MAX} bytes`,
    }
  }
  if (command === CMD_BLOCK_STATUS && length === 0) {
    return { errno: EINVAL, message: 'a block status request must not be empty' }
  }
  if (
    command === CMD_WRITE_ZEROES &&
    (flags & CMD_FLAG_FAST_ZERO) !== 0 &&
    !holdsWholeBlock(offset, length)
  ) {
    return { errno: ENOTSUP, message: 'zeroing less than a whole block is no faster than writing it' }
  }
  return FINE
}

/** Bytes of memory that the request needs until its reply has left. */
export function costOf(request: RequestHeader): number {
  switch (request.command) {
    case CMD_READ:
    case CMD_WRITE:
      return request.length
    case CMD_CACHE:
      return Math.min(request.length, CACHE_STEP_BYTES)
    case CMD_BLOCK_STATUS:
      return BLOCK_STATUS_COST_BYTES
    default:
      return 0
  }
}

/** −1 for a command that does not exist (here). */
function allowedFlags(command: number, context: RequestContext): number {
  switch (command) {
    case CMD_READ:
      return context.structuredReplies ? CMD_FLAG_FUA | CMD_FLAG_DF : CMD_FLAG_FUA
    case CMD_WRITE:
    case CMD_FLUSH:
    case CMD_TRIM:
    case CMD_CACHE:
      return CMD_FLAG_FUA
    case CMD_WRITE_ZEROES:
      return CMD_FLAG_FUA | CMD_FLAG_NO_HOLE | CMD_FLAG_FAST_ZERO
    case CMD_BLOCK_STATUS:
      return context.blockStatus ? CMD_FLAG_FUA | CMD_FLAG_REQ_ONE : -1
    default:
      return -1
  }
}

/** Zeroes become holes for whole blocks; the rest of a range is read, changed and written. */
function holdsWholeBlock(offset: number, length: number): boolean {
  if (length === 0) return true
  const first = Math.ceil(offset / BLOCK_BYTES) * BLOCK_BYTES
  return first + BLOCK_BYTES <= offset + length
}
