/** Errors of local files, in words. */
import { HitherError } from '../../base/errors.ts'

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'you have no permission',
  EPERM: 'that is not permitted',
  ENOSPC: 'no space is left there',
  EDQUOT: 'your quota is used up',
  EROFS: 'that file system is read-only',
  EPIPE: 'its reader is gone',
  EIO: 'the device reported an error',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of its path is not a folder',
}

/** `NOT_FOUND` when there is no such file, else `FILE_FAILED`. Errors of ours pass. */
export function fileFailed(file: string, error: unknown): HitherError {
  if (error instanceof HitherError) return error
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return new HitherError('NOT_FOUND', `there is no file ${file}`, { cause: error })
  return new HitherError('FILE_FAILED', `${file}: ${REASONS[code ?? ''] ?? message}`, { cause: error })
}
