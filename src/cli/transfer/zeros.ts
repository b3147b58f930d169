/**
 * Finds what is worth moving. A hole of a sparse file reads as zeros very cheaply, and looking at bytes finds zeros that
 * were written as well, in any file and from any pipe, so no system call for holes is needed.
 */
import { isZero } from '../../base/bytes.ts'
import { BLOCK_BYTES } from '../../base/units.ts'

export interface Segment {
  readonly start: number
  readonly end: number
  readonly zero: boolean
}

/**
 * Splits `bytes` into alternating segments of data and of zeros, on 4 KiB bounds from its start. Zeros shorter than
 * `zeroBytesMin` between data count as data: fewer, larger pieces.
 */
export function segmentsOf(bytes: Buffer, zeroBytesMin: number): Segment[] {
  const segments: Segment[] = []
  let start = 0
  while (start < bytes.length) {
    const zero = isZeroBlock(bytes, start)
    let end = start
    while (end < bytes.length && isZeroBlock(bytes, end) === zero)
      end = Math.min(end + BLOCK_BYTES, bytes.length)
    append(segments, { start, end, zero }, zeroBytesMin)
    start = end
  }
  return segments
}

/** Appends; when short zeros turn out to lie between data, the three become one. */
function append(segments: Segment[], next: Segment, zeroBytesMin: number): void {
  const gap = segments.at(-1)
  const before = segments.at(-2)
  const joins = !next.zero && gap?.zero === true && before !== undefined && gap.end - gap.start < zeroBytesMin
  if (joins) segments.splice(-2, 2, { start: before.start, end: next.end, zero: false })
  else segments.push(next)
}

function isZeroBlock(bytes: Buffer, start: number): boolean {
  return isZero(bytes, start, Math.min(BLOCK_BYTES, bytes.length - start))
}
