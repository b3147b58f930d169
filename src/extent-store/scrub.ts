/**
 * Checks all that a copy stores against its checksums. Slots that are damaged are told, and repaired one by one from
 * another copy; a damaged frame head makes slots unreachable by scan, so then the whole copy must come again. A bad or
 * missing index block is derivable, and written anew here.
 */
import { codeOf } from '../base/errors.ts'
import { hashMatches } from '../base/hash.ts'
import type { SlotIndex as SlotNumber } from '../base/units.ts'
import type { Copy } from './copy.ts'
import { decodeIndexBlock, encodeIndexBlock } from './index-block.ts'
import { loadIndex } from './load-index.ts'
import { scanFrames } from './log-scan.ts'
import type { SlotIndex } from './slot-index.ts'
import type { StoreContext } from './store-context.ts'
import type { ScrubReport } from './types.ts'

/**
 * Runs under the egroup's lock. A device that cannot be read makes the copy `damaged`. Reads the medium where it can, not
 * what a cache remembers of it.
 */
export async function scrub(context: StoreContext, copy: Copy): Promise<ScrubReport> {
  const { device, placement, length } = copy
  const corrupt: SlotNumber[] = []
  let index: SlotIndex
  let end: number
  placement.pin()
  try {
    index = await loadIndex(context, copy)
    end = await context.withLogBuffer(length, (memory) =>
      scanFrames(
        (offset, target) => device.read(placement, offset, target, 'once'),
        copy.egroup,
        length,
        (frame) => {
          for (let i = 0; i < frame.slotCount; i++) if (!frame.verifySlice(i)) corrupt.push(frame.slot(i))
          return true
        },
        memory,
        context.bulk.begin(),
      ),
    )
    for (let row = 0; row < index.count; row++) {
      if (index.offset(row) >= end && !(await sliceHolds(copy, index, row))) corrupt.push(index.slot(row))
    }
    if (end === length && copy.isSealed) await renewIndexBlock(copy, index)
  } catch (error) {
    // A CVM that dies while it reads knows nothing about the copy.
    if (codeOf(error) === 'CVM_DOWN') throw error
    return { checkedBytes: 0, corruptSlots: corrupt, damaged: true }
  } finally {
    placement.unpin()
  }
  return { checkedBytes: length, corruptSlots: corrupt, damaged: end !== length || !index.complete }
}

/** For slots behind a damaged head, which only the index block still knows. */
async function sliceHolds(copy: Copy, index: SlotIndex, row: number): Promise<boolean> {
  const bytes = new Uint8Array(index.storedBytes(row))
  await copy.device.read(copy.placement, index.offset(row), bytes)
  return hashMatches(bytes, 0, bytes.length, index.checksumHi(row), index.checksumLo(row))
}

async function renewIndexBlock(copy: Copy, index: SlotIndex): Promise<void> {
  const { device, placement, entry, egroup, length } = copy
  if (entry.indexBytes === 0) return
  const onDevice = new Uint8Array(entry.indexBytes)
  await device.read(placement, entry.indexOffset, onDevice)
  if (decodeIndexBlock(onDevice, egroup, length) !== undefined) return
  const right = encodeIndexBlock(egroup, length, index)
  if (right.length !== entry.indexBytes) return
  await device.write(placement, entry.indexOffset, [right])
  await device.sync()
}
