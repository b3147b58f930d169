/** What a name may be. Names are bytes, one a character. */
import { fileError } from './file-error.ts'
import { NAME_BYTES_MAX } from './limits.ts'

/** @throws `NAME_TOO_LONG`, `BAD_ARGUMENT` */
export function checkFileName(name: string): void {
  if (name.length > NAME_BYTES_MAX) {
    throw fileError('NAME_TOO_LONG', `a name has ${NAME_BYTES_MAX} bytes at most, not ${name.length}`)
  }
  if (name.length === 0 || name.includes('/') || name.includes('\0')) {
    throw fileError('BAD_ARGUMENT', 'a name has one byte at least, and neither a slash nor a NUL')
  }
}

export function isDots(name: string): boolean {
  return name === '.' || name === '..'
}
