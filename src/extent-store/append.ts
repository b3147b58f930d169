/**
 * Append of one frame to an open copy.
 *
 * 1. Check: there is an open copy; the generation is not fenced; the frame says what the request says (its head is
 *    verified, its payload is not: that was hashed by the writer, and will be by every reader).
 * 2. Write behind the log, durably when asked to. From here on the slots can be read here. The lock is held as long: only
 *    what changes the copy takes it, readers do not.
 * 3. Frames that were not synced may lie in front of this one, and a log ends in front of the first frame that is lost:
 *    then the write in 2 is a plain one, and a sync follows, which covers them too. Not under the lock: the next append
 *    may be written meanwhile.
 *
 * Crash in 2: the frame is found torn or whole; if torn, the log ends in front of it. Crash between 2 and 3: the frame may
 * or may not be there, whole. A failed write leaves the log as it was: the same offset may be tried again, if the device
 * is still in service.
 */
import { HitherError } from '../base/errors.ts'
import { EGROUP_BYTES, SECTOR_BYTES } from '../base/units.ts'
import type { Copy } from './copy.ts'
import { HEADER_BYTES } from './frame-format.ts'
import { headBytesAt, type ParsedFrame, parseHead } from './frame-reader.ts'
import type { StoreContext } from './store-context.ts'
import type { AppendRequest } from './types.ts'
import { ZeroAhead } from './zero-ahead.ts'

export async function append(context: StoreContext, request: AppendRequest): Promise<void> {
  const { egroup } = request
  const { locks } = context
  let copy: Copy
  let end: number
  let needsSync = request.sync
  if (!locks.tryLock(egroup)) await locks.lock(egroup)
  try {
    copy = context.fullCopyOf(egroup)
    checkPlace(copy, request)
    const frame = checkFrame(copy, request)
    const zeroing = copy.zeroAhead?.clearTo(request.offset + frame.frameBytes)
    if (zeroing !== undefined) await zeroing
    if (request.sync && copy.durableLength === copy.length) {
      await copy.device.writeDurably(copy.placement, request.offset, request.parts)
      copy.durableLength += frame.frameBytes
      needsSync = false
    } else {
      await copy.device.write(copy.placement, request.offset, request.parts)
    }
    copy.length += frame.frameBytes
    end = copy.length
    copy.slotCount += frame.slotCount
    copy.frameEnds.push(copy.length)
    copy.index!.addFrame(frame)
    if (request.sync && copy.device.isSparse) {
      copy.zeroAhead ??= new ZeroAhead(copy)
      copy.zeroAhead.appended(frame.frameBytes)
    }
  } finally {
    locks.unlock(egroup)
  }
  if (!needsSync) return
  await copy.device.sync()
  copy.durableLength = Math.max(copy.durableLength, end)
}

function checkPlace(copy: Copy, request: AppendRequest): void {
  const { egroup, generation, offset } = request
  if (generation < copy.entry.generation) {
    throw new HitherError(
      'STALE_GENERATION',
      `egroup ${egroup} is fenced at generation ${copy.entry.generation}; an append came from ${generation}`,
    )
  }
  if (!copy.isOpen) throw new HitherError('COPY_SEALED', `egroup ${egroup} is sealed`)
  if (offset !== copy.length) {
    throw new HitherError(
      'OFFSET_MISMATCH',
      `egroup ${egroup} has ${copy.length} bytes here; an append came for offset ${offset}`,
    )
  }
}

function checkFrame(copy: Copy, { egroup, generation, offset, parts }: AppendRequest): ParsedFrame {
  let bytes = 0
  for (const part of parts) bytes += part.length
  if (bytes === 0 || bytes % SECTOR_BYTES !== 0 || offset + bytes > roomOf(copy)) {
    throw new HitherError(
      'OUT_OF_RANGE',
      `a frame of ${bytes} bytes does not fit at ${offset} of egroup ${egroup}`,
    )
  }
  const frame = parseHead(headOf(parts), 0)
  if (frame === undefined) {
    throw new HitherError(
      'CHECKSUM_MISMATCH',
      `what came for egroup ${egroup} at ${offset} is no whole frame`,
    )
  }
  if (frame.egroup !== egroup || frame.offset !== offset || frame.frameBytes !== bytes) {
    throw new HitherError(
      'BAD_ARGUMENT',
      `a frame for egroup ${frame.egroup} at ${frame.offset}, ${frame.frameBytes} bytes long, came as ${bytes} bytes ` +
        `for egroup ${egroup} at ${offset}`,
    )
  }
  if (frame.generation > generation) {
    throw new HitherError(
      'BAD_ARGUMENT',
      `a frame of generation ${frame.generation} came from an owner of generation ${generation}`,
    )
  }
  for (let i = 0; i < frame.slotCount; i++) {
    if (copy.index!.find(frame.slot(i)) >= 0) {
      throw new HitherError(
        'BAD_ARGUMENT',
        `slot ${frame.slot(i)} of egroup ${egroup} is written a second time`,
      )
    }
  }
  return frame
}

/** Log bytes that the copy has room for: some were made short. */
function roomOf(copy: Copy): number {
  return Math.min(EGROUP_BYTES, copy.placement.bytes)
}

/** Header and tables in one piece: as a rule they are the first part. */
function headOf(parts: readonly Uint8Array[]): Uint8Array {
  const first = parts[0]!
  const headBytes = headBytesAt(first, 0)
  if (first.length >= HEADER_BYTES && first.length >= headBytes) return first
  return Buffer.concat(parts)
}
