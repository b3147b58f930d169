/**
 * Every error that leaves hither is a `HitherError` with a stable `code`. The table is in docs/errors.md; codes are
 * grouped by the moment at which they can happen. `retryable` says that the same call may succeed later unchanged.
 */

export type ErrorCode =
  // opening and settings
  | 'BAD_SETTING'
  | 'BAD_LOCATION'
  | 'CLUSTER_CLOSED'
  | 'DATA_IN_USE'
  | 'FORMAT_UNKNOWN'
  | 'CATALOG_CORRUPT'
  // names and arguments
  | 'BAD_ARGUMENT'
  | 'OUT_OF_RANGE'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'IN_USE'
  | 'UNSAFE'
  // files of an exported container
  | 'FILE_STALE'
  | 'NOT_DIRECTORY'
  | 'IS_DIRECTORY'
  | 'NOT_EMPTY'
  | 'NAME_TOO_LONG'
  | 'FORBIDDEN'
  // vDisk IO
  | 'VDISK_CLOSED'
  | 'NO_SPACE'
  | 'NO_REPLICAS'
  | 'CHECKSUM_MISMATCH'
  | 'DATA_UNAVAILABLE'
  // inside the cluster; a client of the public API sees these only when a deadline passes
  | 'NOT_OWNER'
  | 'STALE_GENERATION'
  | 'LEASE_EXPIRED'
  | 'CVM_DOWN'
  | 'TIMEOUT'
  | 'COPY_MISSING'
  | 'SLOT_MISSING'
  | 'COPY_SEALED'
  | 'OFFSET_MISMATCH'
  | 'CONFLICT'
  // devices
  | 'DEVICE_FAILED'
  | 'DEVICE_FULL'
  | 'DEVICE_CORRUPT'
  // wire
  | 'PROTOCOL_ERROR'
  // command line
  | 'CLUSTER_UNREACHABLE'
  | 'FILE_FAILED'
  | 'CANCELLED'
  // broken invariant: a bug in hither
  | 'INTERNAL'

const RETRYABLE: ReadonlySet<ErrorCode> = new Set([
  'NOT_OWNER',
  'STALE_GENERATION',
  'LEASE_EXPIRED',
  'CVM_DOWN',
  'TIMEOUT',
  'CONFLICT',
  'NO_REPLICAS',
  'DATA_UNAVAILABLE',
])

export class HitherError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'HitherError'
    this.code = code
  }

  /** The same call may succeed later, unchanged. */
  get retryable(): boolean {
    return RETRYABLE.has(this.code)
  }
}

/** The code of an error of ours, or `undefined` for anything else. */
export function codeOf(error: unknown): ErrorCode | undefined {
  return error instanceof HitherError ? error.code : undefined
}

/** Wraps what is not ours, so that `code` is always there. */
export function asHitherError(error: unknown, code: ErrorCode = 'INTERNAL'): HitherError {
  if (error instanceof HitherError) return error
  return new HitherError(code, error instanceof Error ? error.message : String(error), { cause: error })
}

/** States an invariant. A failure is a bug in hither, never bad input. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new HitherError('INTERNAL', `broken invariant: ${message}`)
}
