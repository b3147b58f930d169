/**
 * From an engine error to what an NBD client is told. NBD knows eight numbers; the sentence travels beside them
 * where the client asked for structured replies.
 */
import { asHitherError, type ErrorCode, type HitherError } from '../../base/errors.ts'
import {
  CMD_TRIM,
  CMD_WRITE,
  CMD_WRITE_ZEROES,
  EINVAL,
  EIO,
  ENOSPC,
  EPERM,
  ESHUTDOWN,
  REP_ERR_SHUTDOWN,
  REP_ERR_UNKNOWN,
  STRING_BYTES_MAX,
} from './wire.ts'

const ERRNO_OF: Readonly<Partial<Record<ErrorCode, number>>> = {
  NO_SPACE: ENOSPC,
  DEVICE_FULL: ENOSPC,
  OUT_OF_RANGE: EINVAL,
  BAD_ARGUMENT: EINVAL,
  UNSAFE: EPERM,
  IN_USE: EPERM,
  // The export is gone. A client that is told of a shutdown disconnects, and learns the rest when it comes back.
  NOT_FOUND: ESHUTDOWN,
  VDISK_CLOSED: ESHUTDOWN,
  CLUSTER_CLOSED: ESHUTDOWN,
}

/** Commands that change the export. */
export function changesData(command: number): boolean {
  return command === CMD_WRITE || command === CMD_TRIM || command === CMD_WRITE_ZEROES
}

/** What a request beyond the end of the export is answered with. */
export function beyondEndErrno(command: number): number {
  return command === CMD_WRITE || command === CMD_WRITE_ZEROES ? ENOSPC : EINVAL
}

/** The error number with which a request that failed in the engine is answered; EIO for whatever has no better one. */
export function errnoOf(error: HitherError, command: number): number {
  if (error.code === 'OUT_OF_RANGE') return beyondEndErrno(command)
  return ERRNO_OF[error.code] ?? EIO
}

/** The option reply type for an export that could not be listed or opened. */
export function optionErrorOf(error: unknown): number {
  return asHitherError(error).code === 'CLUSTER_CLOSED' ? REP_ERR_SHUTDOWN : REP_ERR_UNKNOWN
}

/** A sentence as the protocol's string: UTF-8, no NUL, at most 4,096 bytes, never cut within a character. */
export function encodeMessage(message: string): Buffer {
  const bytes = Buffer.from(message.replaceAll('\0', ' '), 'utf8')
  if (bytes.length <= STRING_BYTES_MAX) return bytes
  let end = STRING_BYTES_MAX
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end -= 1
  return bytes.subarray(0, end)
}
