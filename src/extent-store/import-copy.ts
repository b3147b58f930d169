/**
 * Copies from elsewhere become sealed copies here: imports from another node, and moves between this node's tiers.
 *
 * An import is received whole, in memory (at most LOG_BYTES_MAX), before anything is taken or changed; then it is
 * verified, written and installed (sealed-log.ts). So a sender that hangs or lies leaves no trace.
 */
import { HitherError } from '../base/errors.ts'
import { EGROUP_BYTES, type EgroupId, SECTOR_BYTES, type Tier } from '../base/units.ts'
import { BULK_STEP_BYTES, type Rest } from '../platform/bulk-work.ts'
import type { Copy } from './copy.ts'
import { placeCopy, tiersFrom } from './create-copy.ts'
import { unitsFor } from './placement.ts'
import { readWholeLog, verifyLog, writeSealedCopy } from './sealed-log.ts'
import type { StoreContext } from './store-context.ts'
import type { NewCopy } from './types.ts'

/**
 * Longest log of a sealed copy. More than EGROUP_BYTES: one that grew as a partial copy, from many small reads, has
 * more and smaller frames than the egroup itself.
 */
export const LOG_BYTES_MAX = 2 * EGROUP_BYTES

/**
 * Log bytes as they come, which the caller may have to wait for, and then `work` with them; they are gone when it has
 * ended. Takes no lock.
 */
export async function withReceivedLog(
  context: StoreContext,
  copy: NewCopy & { readonly length: number },
  chunks: AsyncIterable<Uint8Array>,
  work: (log: Uint8Array) => Promise<void>,
): Promise<void> {
  const { egroup, length, tier } = copy
  if (!Number.isInteger(length) || length < 0 || length > LOG_BYTES_MAX || length % SECTOR_BYTES !== 0) {
    throw new HitherError('BAD_ARGUMENT', `a log of ${length} bytes cannot be imported as egroup ${egroup}`)
  }
  const units = unitsFor(length)
  if (tiersFrom(tier).every((each) => context.devicesFor(each, units, 'data').length === 0)) {
    throw new HitherError('NO_SPACE', `no device of this node has room for a copy of egroup ${egroup}`)
  }
  await context.withLogBuffer(length, async (memory) => {
    const log = memory.subarray(0, length)
    await receive(egroup, chunks, log, context.bulk.begin())
    await work(log)
  })
}

/** Fills `log` with the chunks. */
async function receive(
  egroup: EgroupId,
  chunks: AsyncIterable<Uint8Array>,
  log: Uint8Array,
  rest: Rest,
): Promise<void> {
  const { length } = log
  let received = 0
  let rested = 0
  for await (const chunk of chunks) {
    if (received + chunk.length > length) {
      throw new HitherError('BAD_ARGUMENT', `more than ${length} bytes came for egroup ${egroup}`)
    }
    log.set(chunk, received)
    received += chunk.length
    if (received - rested < BULK_STEP_BYTES) continue
    rested = received
    await rest()
  }
  if (received !== length) {
    throw new HitherError('BAD_ARGUMENT', `${received} of ${length} bytes came for egroup ${egroup}`)
  }
}

/** Replaces a partial copy, or a sealed one that is damaged. Runs under the egroup's lock. */
export async function importLog(context: StoreContext, copy: NewCopy, bytes: Uint8Array): Promise<void> {
  const { egroup } = copy
  const before = context.copies.get(egroup)
  if (before?.isOpen) {
    throw new HitherError('ALREADY_EXISTS', `egroup ${egroup} is open here; drop or seal that copy first`)
  }
  if (before?.isSealed && before.entry.generation > copy.generation) {
    throw new HitherError(
      'STALE_GENERATION',
      `egroup ${egroup} is fenced at generation ${before.entry.generation} here; the import has ${copy.generation}`,
    )
  }
  const log = await verifyLog(egroup, bytes, context.bulk.begin())
  const { device, extents } = placeCopy(context, egroup, tiersFrom(copy.tier), log.units, 'data')
  await context.install(await writeSealedCopy(context, device, extents, log, copy))
}

/**
 * Moves a sealed copy to the other tier; 0 bytes when it is there already. `NO_SPACE` when that tier has no room,
 * `CHECKSUM_MISMATCH` (and nothing changes) when the copy is damaged. Runs under the egroup's lock.
 */
export async function moveTier(
  context: StoreContext,
  copy: Copy,
  tier: Tier,
): Promise<{ readonly movedBytes: number }> {
  if (copy.device.tier === tier) return { movedBytes: 0 }
  return context.withLogBuffer(copy.length, async (memory) => {
    const bytes = await readWholeLog(copy, memory)
    const log = await verifyLog(copy.egroup, bytes, context.bulk.begin())
    const { device, extents } = placeCopy(context, copy.egroup, [tier], log.units, 'data')
    await context.install(await writeSealedCopy(context, device, extents, log, copy.entry))
    return { movedBytes: log.bytes.length }
  })
}
