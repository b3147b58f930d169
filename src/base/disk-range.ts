/** The one check of a range that somebody asks a vDisk for: by its handle, and again by its owner. */
import { HitherError } from './errors.ts'

/** `BAD_ARGUMENT` or `OUT_OF_RANGE` for a range that is not wholly in the vDisk; `undefined` when it is. Bytes. */
export function diskRangeError(
  disk: { readonly name: string; readonly size: number },
  offset: number,
  length: number,
): HitherError | undefined {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    return new HitherError(
      'BAD_ARGUMENT',
      `offset ${offset} and length ${length} must be whole and not negative`,
    )
  }
  if (offset + length <= disk.size) return undefined
  return new HitherError(
    'OUT_OF_RANGE',
    `${length} bytes at ${offset} reach past the end of vDisk ${disk.name} (${disk.size} bytes)`,
  )
}
