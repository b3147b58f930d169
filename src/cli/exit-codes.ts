/** Exit codes of the command line: part of its contract with scripts. */
import type { ErrorCode } from '../base/errors.ts'

export const EXIT_DONE = 0
export const EXIT_FAILED = 1
/** The command line or one of its values is wrong; nothing was done. */
export const EXIT_USAGE = 2
export const EXIT_NOT_FOUND = 3
export const EXIT_UNREACHABLE = 4
/** Refused by a safety check; the message says how to insist, where that is possible. */
export const EXIT_REFUSED = 5
/** Ended by SIGINT or SIGTERM before it was done: 128 + SIGINT, as shells have it. */
export const EXIT_INTERRUPTED = 130

const EXIT_CODES: Partial<Record<ErrorCode, number>> = {
  BAD_ARGUMENT: EXIT_USAGE,
  BAD_SETTING: EXIT_USAGE,
  BAD_LOCATION: EXIT_USAGE,
  NOT_FOUND: EXIT_NOT_FOUND,
  CLUSTER_UNREACHABLE: EXIT_UNREACHABLE,
  UNSAFE: EXIT_REFUSED,
  IN_USE: EXIT_REFUSED,
  DATA_IN_USE: EXIT_REFUSED,
  CANCELLED: EXIT_INTERRUPTED,
}

export function exitCodeFor(code: ErrorCode): number {
  return EXIT_CODES[code] ?? EXIT_FAILED
}
