/** What a name may be. Names are bytes, one a character. */
import { fileError } from './file-error.ts'
import { NAME_BYTES_MAX } from './limits.ts'

export function nameOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

export function bytesOf(name: string): Buffer {
  return Buffer.from(name, 'latin1')
}

/** A name or path for people: as UTF-8, which it most likely is. */
export function readable(name: string): string {
  return bytesOf(name).toString()
}

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
