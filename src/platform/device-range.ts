/** The one check that every device makes before it touches its medium. */
import { HitherError } from '../base/errors.ts'
import type { BlockDevice } from './types.ts'

/** The error for a range that is not wholly on the device; `undefined` when it is. */
export function rangeError(
  device: Pick<BlockDevice, 'id' | 'size'>,
  offset: number,
  length: number,
): HitherError | undefined {
  if (Number.isSafeInteger(offset) && offset >= 0 && length >= 0 && offset + length <= device.size) {
    return undefined
  }
  return new HitherError(
    'OUT_OF_RANGE',
    `${length} bytes at ${offset} are not on device ${device.id}, which has ${device.size} bytes`,
  )
}

/** Bytes in all parts together. */
export function partsLength(parts: Uint8Array | readonly Uint8Array[]): number {
  if (parts instanceof Uint8Array) return parts.length
  let length = 0
  for (const part of parts) length += part.length
  return length
}
