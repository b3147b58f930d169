/** Brings the slot index of a copy to memory: from its index block, or from the heads of its frames. */
import type { EgroupId } from '../base/units.ts'
import type { Copy } from './copy.ts'
import { decodeIndexBlock } from './index-block.ts'
import { type LogReader, scanHeads } from './log-scan.ts'
import { SlotIndex } from './slot-index.ts'
import type { StoreContext } from './store-context.ts'

/** The copy that this node has now, with its index in memory. `COPY_MISSING`, or the device's error. */
export async function copyWithIndex(
  context: StoreContext,
  egroup: EgroupId,
): Promise<{ readonly copy: Copy; readonly index: SlotIndex }> {
  for (;;) {
    const copy = context.copyOf(egroup)
    const index = copy.index ?? (await loadIndex(context, copy))
    if (context.copies.get(egroup) === copy) return { copy, index }
  }
}

/** Index of the copy, loaded when it is not in memory. Rejects with the device's error. */
export function loadIndex(context: StoreContext, copy: Copy): Promise<SlotIndex> {
  if (copy.index !== undefined) return Promise.resolve(copy.index)
  copy.indexLoading ??= readIndex(copy).then(
    (index) => {
      copy.indexLoading = undefined
      copy.index = index
      if (context.copies.get(copy.egroup) === copy) context.indexes.touch(copy)
      return index
    },
    (error) => {
      copy.indexLoading = undefined
      throw error
    },
  )
  return copy.indexLoading
}

async function readIndex(copy: Copy): Promise<SlotIndex> {
  const { device, placement, entry, length } = copy
  placement.pin()
  try {
    if (entry.indexBytes > 0) {
      const block = new Uint8Array(entry.indexBytes)
      await device.read(placement, entry.indexOffset, block)
      const index = decodeIndexBlock(block, copy.egroup, length)
      if (index !== undefined) return index
    }
    return await scanIndex((offset, target) => device.read(placement, offset, target), copy.egroup, length)
  } finally {
    placement.unpin()
  }
}

/** The index that the frame heads give; not `complete` when one of them is bad. */
async function scanIndex(read: LogReader, egroup: EgroupId, length: number): Promise<SlotIndex> {
  const index = new SlotIndex()
  const end = await scanHeads(read, egroup, length, (frame) => {
    index.addFrame(frame)
    return true
  })
  index.complete = end === length
  return index
}
