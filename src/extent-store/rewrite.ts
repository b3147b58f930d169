/**
 * Writes the log of a sealed copy anew: without its dead slots (compaction), or with a slice put right (repair).
 *
 * Names stay: egroup id and slot numbers are the same afterwards, so nothing outside this copy needs to know. The new
 * log goes to new units and replaces the old one in the table in one step; readers under way finish on the old units.
 * Map records are dropped: the vDisk's map was checkpointed behind a sealed egroup before it may be compacted.
 * Fingerprints of what stays are kept, where the old frame had them.
 *
 * This is the way out of a full device, so it may use the reserve, one rewrite per device at a time.
 */
import type { Bitset } from '../base/bitset.ts'
import { HitherError } from '../base/errors.ts'
import { hashMatches } from '../base/hash.ts'
import { BLOCK_BYTES, MiB } from '../base/units.ts'
import type { Rest } from '../platform/bulk-work.ts'
import type { Copy } from './copy.ts'
import type { ParsedFrame } from './frame-reader.ts'
import type { FrameBuilder } from './frame-writer.ts'
import { loadIndex } from './load-index.ts'
import { walkFrames } from './log-scan.ts'
import { UNIT_BYTES, unitsFor } from './placement.ts'
import { readWholeLog, verifyLog, writeSealedCopy } from './sealed-log.ts'
import type { StoreContext } from './store-context.ts'
import { KIND_DATA, type StoredSlice } from './types.ts'

/**
 * Drops every slot that is not in `live`. Does nothing when that would free no unit. `CHECKSUM_MISMATCH`, and nothing
 * changes, when a live slot or a frame head is damaged: repair it first.
 */
export async function compact(
  context: StoreContext,
  copy: Copy,
  live: Bitset,
): Promise<{ readonly freedBytes: number }> {
  const index = await loadIndex(context, copy)
  let liveBytes = 0
  for (let row = 0; row < index.count; row++) {
    if (live.has(index.slot(row))) liveBytes += index.storedBytes(row)
  }
  if (unitsFor(liveBytes) >= copy.placement.units) return { freedBytes: 0 }
  return rewrite(context, copy, (slot) => live.has(slot), undefined)
}

/**
 * Makes this copy hold `slice`, whose checksum must be right. Written in place, and synced, when the copy has it with
 * that length and checksum; else the copy is rewritten around it.
 */
export async function repairSlot(context: StoreContext, copy: Copy, slice: StoredSlice): Promise<void> {
  const { slot, bytes, checksumHi, checksumLo } = slice
  if (!hashMatches(bytes, 0, bytes.length, checksumHi, checksumLo)) {
    throw new HitherError(
      'CHECKSUM_MISMATCH',
      `slot ${slot} of egroup ${copy.egroup} came damaged for repair`,
    )
  }
  const index = await loadIndex(context, copy)
  const row = index.find(slot)
  const inPlace =
    row >= 0 &&
    index.storedBytes(row) === bytes.length &&
    index.checksumHi(row) === checksumHi &&
    index.checksumLo(row) === checksumLo
  if (inPlace) {
    await copy.device.write(copy.placement, index.offset(row), [bytes])
    await copy.device.sync()
    return
  }
  if (!copy.isSealed) {
    throw new HitherError('CONFLICT', `egroup ${copy.egroup} holds another slot ${slot} here; drop this copy`)
  }
  await rewrite(context, copy, (other) => other !== slot, slice)
}

async function rewrite(
  context: StoreContext,
  copy: Copy,
  keeps: (slot: number) => boolean,
  added: StoredSlice | undefined,
): Promise<{ readonly freedBytes: number }> {
  const { device, placement } = copy
  const work = async (before: Uint8Array, after: Uint8Array, builder: FrameBuilder) => {
    const old = await readWholeLog(copy, before)
    const rest = context.bulk.begin()
    const log = await verifyLog(
      copy.egroup,
      await rebuild(copy, old, keeps, added, builder, after, rest),
      rest,
    )
    if (added === undefined && log.units >= placement.units) return { freedBytes: 0 }
    const extents = device.allocateFromReserve(log.units)
    if (extents === undefined) {
      throw new HitherError('NO_SPACE', `device ${device.id} has no room to rewrite egroup ${copy.egroup}`)
    }
    await context.install(await writeSealedCopy(context, device, extents, log, copy.entry))
    return { freedBytes: (placement.units - log.units) * UNIT_BYTES }
  }
  return device.rewriting.run(() =>
    context.withLogBuffer(copy.length, (before) =>
      context.withLogBuffer(copy.length + MiB, (after) =>
        context.withBuilder((builder) => work(before, after, builder)),
      ),
    ),
  )
}

/** The new log, with explicit slot numbers, at the front of `target`, which has room for the old one and a repaired slice. */
async function rebuild(
  copy: Copy,
  old: Uint8Array,
  keeps: (slot: number) => boolean,
  added: StoredSlice | undefined,
  builder: FrameBuilder,
  target: Uint8Array,
  rest: Rest,
): Promise<Uint8Array> {
  const { egroup, stream, generation } = copy.entry
  let length = 0
  const flush = (): void => {
    if (builder.isEmpty) return
    for (const part of builder.seal({ egroup, stream, generation, offset: length, baseSlot: 0 })) {
      target.set(part, length)
      length += part.length
    }
    builder.reset()
  }
  let withFingerprints = true
  const visit = (frame: ParsedFrame): boolean => {
    if (holdsData(frame) && frame.fingerprintCount > 0 !== withFingerprints) {
      flush()
      withFingerprints = !withFingerprints
    }
    let fingerprint = 0
    for (let i = 0; i < frame.slotCount; i++) {
      const blocks = fingerprintsOf(frame, i)
      if (keeps(frame.slot(i))) {
        if (!frame.verifySlice(i)) throw damaged(egroup, `slot ${frame.slot(i)} is damaged`)
        if (!builder.hasRoomFor(frame.storedBytes(i))) flush()
        builder.addStored(frame.slice(i), frame.slot(i))
        for (let block = 0; block < blocks; block++) {
          builder.addFingerprint(
            frame.fingerprintHi(fingerprint + block),
            frame.fingerprintLo(fingerprint + block),
          )
        }
      }
      fingerprint += blocks
    }
    return true
  }
  const end = await walkFrames(old, egroup, old.length, visit, rest)
  if (end !== old.length) throw damaged(egroup, `the frame at offset ${end} is damaged`)
  flush()
  if (added !== undefined) {
    builder.addStored(added, added.slot)
    flush()
  }
  return target.subarray(0, length)
}

function holdsData(frame: ParsedFrame): boolean {
  for (let i = 0; i < frame.slotCount; i++) if (frame.kind(i) === KIND_DATA) return true
  return false
}

/** How many fingerprints of the frame belong to its slot `i`. */
function fingerprintsOf(frame: ParsedFrame, i: number): number {
  if (frame.fingerprintCount === 0 || frame.kind(i) !== KIND_DATA) return 0
  return Math.ceil(frame.rawBytes(i) / BLOCK_BYTES)
}

function damaged(egroup: number, what: string): HitherError {
  return new HitherError(
    'CHECKSUM_MISMATCH',
    `egroup ${egroup} cannot be rewritten: ${what}; repair it first`,
  )
}
