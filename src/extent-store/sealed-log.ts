/**
 * Puts the whole log of a sealed copy on a device: what import, compaction, moves between tiers, and repairs that
 * change a length have in common.
 *
 * 1. Verify every frame and slice of the log, in memory, and build the index from it. Nothing unverified is ever
 *    written as a sealed copy.
 * 2. Take units, write log and index block, durably.
 * 3. Write the table entry, durable: now the copy exists.
 *
 * Crash before 3: the units are free again, and what stood there before still stands.
 */
import { HitherError } from '../base/errors.ts'
import { type EgroupId, type Generation, KiB, MiB, type VDiskId } from '../base/units.ts'
import type { Rest } from '../platform/bulk-work.ts'
import { Copy } from './copy.ts'
import type { CopyEntry } from './copy-table.ts'
import { type ParsedFrame, verifySlices } from './frame-reader.ts'
import { encodeIndexBlock } from './index-block.ts'
import { walkFrames } from './log-scan.ts'
import { Placement, unitsFor } from './placement.ts'
import { SlotIndex } from './slot-index.ts'
import type { StoreContext } from './store-context.ts'
import type { StoreDevice } from './store-device.ts'
import type { Extent } from './unit-allocator.ts'

/** Written durably at a time while there are guests, and while there are none; the latter is read at a time, too. Bytes. */
const STEP_BYTES_MIN = 128 * KiB
const STEP_BYTES_MAX = 1 * MiB

/** A log in memory that holds what it says. */
export interface VerifiedLog {
  readonly egroup: EgroupId
  readonly bytes: Uint8Array
  readonly index: SlotIndex
  readonly indexBlock: Uint8Array
  /** Units that log and index block take. */
  readonly units: number
}

/** Verifies every frame and slice. `CHECKSUM_MISMATCH` tells at which offset the log is not what it should be. */
export async function verifyLog(egroup: EgroupId, bytes: Uint8Array, rest: Rest): Promise<VerifiedLog> {
  const index = new SlotIndex()
  const visit = (frame: ParsedFrame): boolean => verifySlices(frame) && index.addFrame(frame)
  const end = await walkFrames(bytes, egroup, bytes.length, visit, rest)
  if (end !== bytes.length) {
    throw new HitherError(
      'CHECKSUM_MISMATCH',
      `the log of egroup ${egroup} is damaged at offset ${end} of ${bytes.length}; use another copy`,
    )
  }
  const indexBlock = encodeIndexBlock(egroup, bytes.length, index)
  return { egroup, bytes, index, indexBlock, units: unitsFor(bytes.length + indexBlock.length) }
}

/**
 * Steps 2 and 3. `extents` are of `log.units`, and are given back when it fails. The result is durable, but not yet
 * what the node serves: see `StoreContext.install`.
 */
export async function writeSealedCopy(
  context: StoreContext,
  device: StoreDevice,
  extents: readonly Extent[],
  log: VerifiedLog,
  owner: { readonly stream: VDiskId; readonly generation: Generation },
): Promise<Copy> {
  const entry: CopyEntry = {
    egroup: log.egroup,
    stream: owner.stream,
    kind: 'full',
    state: 'sealed',
    generation: owner.generation,
    length: log.bytes.length,
    slotCount: log.index.count,
    serial: context.nextSerial(),
    indexOffset: log.bytes.length,
    indexBytes: log.indexBlock.length,
    extents,
  }
  try {
    await writeInSteps(context, device, new Placement(extents), log)
    await device.putEntry(entry)
  } catch (error) {
    device.free(extents)
    throw error
  }
  const copy = new Copy(device, entry)
  copy.index = log.index
  context.indexes.touch(copy)
  return copy
}

/**
 * Log and index block, durable. In steps, so that guests come between; where they go through the page cache, a guest's own sync
 * waits for what is dirty, on a file for what is dirty in the whole file system.
 */
async function writeInSteps(
  { bulk }: StoreContext,
  device: StoreDevice,
  placement: Placement,
  log: VerifiedLog,
): Promise<void> {
  const { bytes, indexBlock } = log
  const rest = bulk.begin()
  for (let at = 0; ; ) {
    const end = Math.min(at + (bulk.hasGuests ? STEP_BYTES_MIN : STEP_BYTES_MAX), bytes.length)
    const step = bytes.subarray(at, end)
    await device.writeDurably(placement, at, end === bytes.length ? [step, indexBlock] : [step])
    if (end === bytes.length) return
    at = end
    await rest()
  }
}

/** The whole log of a copy, as it is on the device, at the front of `into`, which has room for it. */
export async function readWholeLog(copy: Copy, into: Uint8Array): Promise<Uint8Array> {
  const { device, placement, length } = copy
  const bytes = into.subarray(0, length)
  placement.pin()
  try {
    for (let at = 0; at < length; at += STEP_BYTES_MAX) {
      await device.read(placement, at, bytes.subarray(at, at + STEP_BYTES_MAX), 'once')
    }
  } finally {
    placement.unpin()
  }
  return bytes
}
