/**
 * What guests read, and write to, stays in the cache: a block whose old contents are there gets its new ones kept in their
 * place. Else each write to a hot page would cost the next read of it a look at a device, and leave a dead entry with the
 * hits of a live one. Not twice without a hit in between: what is only written is not worth the unpacking. Contents in
 * another vDisk's log stay as they are, as clones share them. Who else shares contents of this one's (a snapshot, a clone of
 * it, a duplicate) reads them from the device again.
 *
 * The bytes are those that were stored, not those of the writer's buffer: who wrote may have been told long ago that it
 * failed, and use the buffer for something else. Large frames are left out: to unpack them would cost more than it saves.
 */
import { BLOCK_BYTES, BLOCKS_PER_VBLOCK, type EgroupId, type VDiskId } from '../base/units.ts'
import type { Placement } from '../replication/stream-writer.ts'
import type { Batch } from './batch.ts'
import type { BlockCache } from './block-cache.ts'
import type { PageMap } from './page-map.ts'
import { decodeSlice } from './reduce.ts'

export interface OverwrittenDeps {
  readonly cache: BlockCache
  /** As it was before the frame. */
  readonly map: Pick<PageMap, 'leaf'>
  readonly vdisk: VDiskId
  /** Whose log the egroup is part of. */
  readonly streamOf: (egroup: EgroupId) => VDiskId | undefined
}

/**
 * Blocks `start` … `start + count − 1`, whose leaves are there, are about to be mapped to a slice of the batch's own frame.
 * @param ref of the first, relative: slot << 3 | block of the slice
 */
export function cacheOverwritten(
  { cache, map, vdisk, streamOf }: OverwrittenDeps,
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
    const { words } = map.leaf(Math.floor(block / BLOCKS_PER_VBLOCK))!
    const at = (block % BLOCKS_PER_VBLOCK) * 2
    const egroup = words[at]!
    const oldRef = words[at + 1]!
    if (egroup === 0 || !cache.isReadHere(egroup, oldRef) || streamOf(egroup) !== vdisk) continue
    raw ??= rawOf(batch, ref >>> 3)
    if (raw === undefined) return
    const own = ref + i
    const newRef = (placement.baseSlot << 3) + own
    cache.replace(egroup, oldRef, placement.egroup, newRef, raw, (own & 7) * BLOCK_BYTES)
  }
}

/** Valid until the codec is used again. `undefined`: it cannot be; its reader will be told. */
function rawOf(batch: Batch, relative: number): Uint8Array | undefined {
  try {
    return decodeSlice(batch.builder.encodedSlice(relative))
  } catch {
    return undefined
  }
}
