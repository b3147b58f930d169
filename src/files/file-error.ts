/**
 * What a file operation refuses for good, as part of its answer: it travels in the answer and not as a failed call, since
 * a host repeats a call that failed with a code that is worth another try.
 */
import { type ErrorCode, HitherError } from '../base/errors.ts'

/** Codes by their number on the wire: append only. */
export const FILE_CODES = [
  'FILE_STALE',
  'NOT_FOUND',
  'NOT_DIRECTORY',
  'IS_DIRECTORY',
  'NOT_EMPTY',
  'ALREADY_EXISTS',
  'NAME_TOO_LONG',
  'BAD_ARGUMENT',
  'CONFLICT',
  'NO_SPACE',
  'OUT_OF_RANGE',
  'FORBIDDEN',
] as const satisfies readonly ErrorCode[]

export type FileCode = (typeof FILE_CODES)[number]

/** Says that it is an answer, not a failure on the way to one. */
export class FileError extends HitherError {}

export function fileError(code: FileCode, message: string): FileError {
  return new FileError(code, message)
}
