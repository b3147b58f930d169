/** What a copy holds, as it stands: its slots, its fingerprints, its raw log. */
import { HitherError } from '../base/errors.ts'
import { BLOCK_BYTES, type EgroupId } from '../base/units.ts'
import { copyWithIndex } from './load-index.ts'
import { scanHeads } from './log-scan.ts'
import type { StoreContext } from './store-context.ts'
import { type FingerprintEntry, KIND_DATA, type SlotSummary } from './types.ts'

/** In the order of the log. */
export async function listSlots(context: StoreContext, egroup: EgroupId): Promise<SlotSummary[]> {
  const { index } = await copyWithIndex(context, egroup)
  return index.summary()
}

/** From the frame heads, in the order of the log, up to the first damaged one. */
export async function listFingerprints(context: StoreContext, egroup: EgroupId): Promise<FingerprintEntry[]> {
  const { device, placement, length } = context.copyOf(egroup)
  const found: FingerprintEntry[] = []
  placement.pin()
  try {
    await scanHeads(
      (offset, target) => device.read(placement, offset, target),
      egroup,
      length,
      (frame) => {
        let at = 0
        for (let i = 0; i < frame.slotCount && at < frame.fingerprintCount; i++) {
          if (frame.kind(i) !== KIND_DATA) continue
          const blocks = Math.ceil(frame.rawBytes(i) / BLOCK_BYTES)
          for (let sub = 0; sub < blocks; sub++, at++) {
            found.push({ hi: frame.fingerprintHi(at), lo: frame.fingerprintLo(at), slot: frame.slot(i), sub })
          }
        }
        return true
      },
    )
  } finally {
    placement.unpin()
  }
  return found
}

export async function readLog(
  context: StoreContext,
  egroup: EgroupId,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const { device, placement, length: logLength } = context.copyOf(egroup)
  if (!(offset >= 0 && length >= 0 && offset + length <= logLength)) {
    throw new HitherError(
      'OUT_OF_RANGE',
      `${length} bytes at ${offset} of egroup ${egroup}, which has ${logLength} bytes here`,
    )
  }
  const bytes = context.logReads.take(length)
  placement.pin()
  try {
    await device.read(placement, offset, bytes, 'once')
  } finally {
    placement.unpin()
  }
  return bytes
}
