/**
 * What guests read, and write to, stays in the cache: a block whose old contents are there gets its new ones kept, too. Else
 * each write to a hot page would cost the next read of it a look at a device. The old contents stay for as long as the
 * policy keeps them: clones and snapshots may share them.
 *
 * The bytes are those that were stored, not those of the writer's buffer: who wrote may have been told long ago that it
 * failed, and use the buffer for something else. Bulk writes are left out: to unpack them would cost more than it saves.
 */
import { BLOCK_BYTES, BLOCKS_PER_VBLOCK } from '../base/units.ts'
import type { Placement } from '../replication/stream-writer.ts'
import type { Batch } from './batch.ts'
import type { BlockCache } from './block-cache.ts'
import type { PageMap } from './page-map.ts'
import { decodeSlice } from './reduce.ts'

/**
 * Blocks `start` … `start + count − 1` are about to be mapped to a slice of the batch's own frame.
 * @param ref of the first, relative: slot << 3 | block of the slice
 * @param map as it is before; their leaves are there
 */
export function cacheOverwritten(
  cache: BlockCache,
  map: Pick<PageMap, 'leaf'>,
  batch: Batch,
  placement: Pick<Placement, 'egroup' | 'baseSlot'>,
  start: number,
  count: number,
  ref: number,
): void {
  if (cache.count === 0 || batch.isLarge) return
  let raw: Uint8Array | undefined
  for (let i = 0; i < count; i++) {
    const block = start + i
    const words = map.leaf(Math.floor(block / BLOCKS_PER_VBLOCK))!.words
    const at = (block % BLOCKS_PER_VBLOCK) * 2
    const egroup = words[at]!
    if (egroup === 0 || !cache.has(egroup, words[at + 1]!)) continue
    raw ??= decodeSlice(batch.builder.storedSlice(ref >>> 3))
    const own = ref + i
    cache.insert(placement.egroup, (placement.baseSlot << 3) + own, raw, (own & 7) * BLOCK_BYTES)
  }
}
