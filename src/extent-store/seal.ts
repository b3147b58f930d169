/**
 * Fence and seal: how an egroup stops growing.
 *
 * Fence: a new owner makes every copy refuse the old one, and learns how long each copy is. Both are durable before
 * the answer: a copy may not come back shorter than it said, nor take an old owner's append after a restart.
 *
 * Seal:
 * 1. Check: not fenced, and `length` ends a frame that is here. What is behind it was never acknowledged.
 * 2. Sync what was appended and is not durable yet.
 * 3. Write the index block behind `length`, durably, in the room that is left, or in a unit more; without room there is
 *    none, and readers scan frame heads instead.
 * 4. Write the entry: sealed, this length, only the units in use. Durable.
 * 5. Cut what is in memory, give the unused units back.
 *
 * Crash before 4: the copy is open still. Its log ends at `length` if 3 wrote over what came after, else where it did
 * before; either way sealing it again works.
 */
import { HitherError } from '../base/errors.ts'
import type { Generation } from '../base/units.ts'
import type { Copy } from './copy.ts'
import { encodeIndexBlock } from './index-block.ts'
import { Placement, unitsFor } from './placement.ts'
import type { StoreContext } from './store-context.ts'
import type { CopyState } from './types.ts'

/** Runs under the egroup's lock, so after all appends that came before. */
export async function fence(
  context: StoreContext,
  copy: Copy,
  generation: Generation,
): Promise<{ readonly length: number; readonly state: CopyState }> {
  checkGeneration(copy, generation)
  if (copy.isOpen) await copy.device.sync()
  if (copy.isOpen || generation > copy.entry.generation) {
    const { length, slotCount } = copy
    copy.entry = await context.putEntry(copy, { generation, length, slotCount })
  }
  return { length: copy.length, state: copy.entry.state }
}

export async function seal(
  context: StoreContext,
  copy: Copy,
  generation: Generation,
  length: number,
): Promise<void> {
  checkGeneration(copy, generation)
  if (copy.isSealed) {
    if (length === copy.length) return
    throw new HitherError(
      'OFFSET_MISMATCH',
      `egroup ${copy.egroup} is sealed here at ${copy.length} bytes, and cannot be sealed at ${length}`,
    )
  }
  if (length !== 0 && !copy.frameEnds.includes(length)) {
    throw new HitherError(
      'OFFSET_MISMATCH',
      `no frame of egroup ${copy.egroup} ends at ${length} here; the copy has ${copy.length} bytes`,
    )
  }
  const zeroing = copy.zeroAhead?.clearTo(Number.POSITIVE_INFINITY)
  if (zeroing !== undefined) await zeroing
  const index = copy.index!
  const indexBlock = encodeIndexBlock(copy.egroup, length, index)
  const { device, placement } = copy
  const units = unitsFor(length + indexBlock.length)
  const more = units > placement.units ? device.allocate(units - placement.units, 'map') : []
  const hasIndex = more !== undefined
  const kept = hasIndex ? units : unitsFor(length)
  const extents = [...placement.head(kept), ...(more ?? [])]
  try {
    if (copy.durableLength < length) await device.sync()
    if (hasIndex) await device.writeDurably(new Placement(extents), length, [indexBlock])
    const entry = await context.putEntry(copy, {
      state: 'sealed',
      generation,
      length,
      slotCount: slotsBefore(copy, length),
      indexOffset: hasIndex ? length : 0,
      indexBytes: hasIndex ? indexBlock.length : 0,
      extents,
    })
    copy.replaceEntry(entry, placement.tail(kept))
  } catch (error) {
    if (more !== undefined) device.free(more)
    throw error
  }
  index.truncate(length)
  copy.length = length
  copy.slotCount = index.count
  copy.frameEnds = []
  context.indexes.touch(copy)
}

function slotsBefore(copy: Copy, length: number): number {
  const index = copy.index!
  let count = index.count
  while (count > 0 && index.offset(count - 1) >= length) count--
  return count
}

function checkGeneration(copy: Copy, generation: Generation): void {
  if (generation >= copy.entry.generation) return
  throw new HitherError(
    'STALE_GENERATION',
    `egroup ${copy.egroup} is fenced at generation ${copy.entry.generation}; ${generation} is too old`,
  )
}
