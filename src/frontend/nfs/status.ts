/** From an error of the engine, or of this door, to the status that an NFS client is told. */
import { asHitherError, codeOf, type ErrorCode, type HitherError } from '../../base/errors.ts'
import {
  NFS3ERR_ACCES,
  NFS3ERR_EXIST,
  NFS3ERR_FBIG,
  NFS3ERR_INVAL,
  NFS3ERR_IO,
  NFS3ERR_ISDIR,
  NFS3ERR_JUKEBOX,
  NFS3ERR_NAMETOOLONG,
  NFS3ERR_NOENT,
  NFS3ERR_NOSPC,
  NFS3ERR_NOTDIR,
  NFS3ERR_NOTEMPTY,
  NFS3ERR_SERVERFAULT,
  NFS3ERR_STALE,
  type Status,
} from './wire.ts'

/** A call is answered with this status. */
export class NfsError extends Error {
  readonly status: Status

  constructor(status: Status) {
    super(`NFS status ${status}`)
    this.name = 'NfsError'
    this.status = status
  }
}

const STATUS_OF: Readonly<Partial<Record<ErrorCode, Status>>> = {
  NOT_FOUND: NFS3ERR_NOENT,
  ALREADY_EXISTS: NFS3ERR_EXIST,
  NOT_DIRECTORY: NFS3ERR_NOTDIR,
  IS_DIRECTORY: NFS3ERR_ISDIR,
  NOT_EMPTY: NFS3ERR_NOTEMPTY,
  NAME_TOO_LONG: NFS3ERR_NAMETOOLONG,
  FILE_STALE: NFS3ERR_STALE,
  BAD_ARGUMENT: NFS3ERR_INVAL,
  OUT_OF_RANGE: NFS3ERR_FBIG,
  FORBIDDEN: NFS3ERR_ACCES,
  NO_SPACE: NFS3ERR_NOSPC,
  DEVICE_FULL: NFS3ERR_NOSPC,
  IN_USE: NFS3ERR_ACCES,
  UNSAFE: NFS3ERR_ACCES,
  CHECKSUM_MISMATCH: NFS3ERR_IO,
  DEVICE_FAILED: NFS3ERR_IO,
  DEVICE_CORRUPT: NFS3ERR_IO,
  // The client waits, and asks again: a restart, or another door, may answer.
  CLUSTER_CLOSED: NFS3ERR_JUKEBOX,
  CANCELLED: NFS3ERR_JUKEBOX,
  VDISK_CLOSED: NFS3ERR_JUKEBOX,
}

/** The call is refused for good, and not for what storage is like at the moment. */
export function isRefusal(error: unknown): boolean {
  const code = codeOf(error)
  const status = error instanceof NfsError ? error.status : code && STATUS_OF[code]
  return status !== undefined && status !== NFS3ERR_JUKEBOX && status !== NFS3ERR_IO
}

/** The call is answered with "later", and whether it was done is not known. */
export function isDeferral(error: unknown): boolean {
  return !(error instanceof NfsError) && statusOf(error, () => {}) === NFS3ERR_JUKEBOX
}

/** The status for whatever a call failed with. `onDefect` is told of what nobody expected. */
export function statusOf(error: unknown, onDefect: (error: HitherError) => void): Status {
  if (error instanceof NfsError) return error.status
  const hither = asHitherError(error)
  const status = STATUS_OF[hither.code]
  if (status !== undefined) return status
  if (hither.retryable) return NFS3ERR_JUKEBOX
  onDefect(hither)
  return NFS3ERR_SERVERFAULT
}
