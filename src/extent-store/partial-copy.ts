/**
 * Partial copies: the slices of an egroup that this node has read over the network, kept on its SSD.
 *
 * A partial copy is a log of frames like any other, with explicit slot numbers, that grows unit by unit. It is a
 * cache: nothing waits for a sync, neither for its data nor for its table entry. What a crash loses is only what has
 * to be fetched again; what it tears is found by the checksums. Slices of an egroup never change, so even a stale
 * frame of an earlier partial copy of the same egroup holds the right bytes.
 *
 * Completing one makes it count as a full copy, so then all of it is made sure of:
 * 1. Read it back; verify every frame and slice.
 * 2. Write the index block behind it; sync both.
 * 3. Write the entry: full, sealed, the units in use. Durable.
 * Crash before 3: it is a partial copy still.
 */
import { Bitset } from '../base/bitset.ts'
import { HitherError } from '../base/errors.ts'
import type { EgroupId, Generation, VDiskId } from '../base/units.ts'
import { Copy } from './copy.ts'
import { parseHead } from './frame-reader.ts'
import type { FrameBuilder } from './frame-writer.ts'
import { LOG_BYTES_MAX } from './import-copy.ts'
import { loadIndex } from './load-index.ts'
import { Placement, unitsFor } from './placement.ts'
import { readWholeLog, verifyLog } from './sealed-log.ts'
import { SlotIndex } from './slot-index.ts'
import type { StoreContext } from './store-context.ts'
import type { StoreDevice } from './store-device.ts'
import type { StoredSlice } from './types.ts'
import type { Extent } from './unit-allocator.ts'

/** A copy grows by as much as it has, within these bounds. */
const GROWTH_UNITS_MIN = 1
const GROWTH_UNITS_MAX = 4

/**
 * Adds the slices that are not held yet; `false`, with some or none of them added, when there is no room on SSD.
 * `true` at once when this node has a full copy. Runs under the egroup's lock.
 */
export async function keepPartial(
  context: StoreContext,
  egroup: EgroupId,
  stream: VDiskId,
  slices: readonly StoredSlice[],
): Promise<boolean> {
  const copy = context.copies.get(egroup)
  if (copy !== undefined && !copy.isPartial) return true
  return context.withBuilder(async (builder) => {
    let next = 0
    while (next < slices.length) {
      builder.reset()
      const added = new Bitset()
      for (; next < slices.length; next++) {
        const slice = slices[next]!
        if (context.copies.get(egroup)?.held?.has(slice.slot) || !added.set(slice.slot)) continue
        if (!builder.hasRoomFor(slice.bytes.length)) {
          added.delete(slice.slot)
          break
        }
        builder.addStored(slice, slice.slot)
      }
      if (!builder.isEmpty && !(await appendPartial(context, egroup, stream, builder))) return false
    }
    return true
  })
}

/** Full and sealed from now on, durable; nothing happens when it is already. Runs under the egroup's lock. */
export async function completePartial(
  context: StoreContext,
  copy: Copy,
  generation: Generation,
): Promise<void> {
  if (copy.isSealed) return
  if (!copy.isPartial) throw new HitherError('CONFLICT', `the copy of egroup ${copy.egroup} here is open`)
  const { device, placement, length } = copy
  const { indexBlock, index, units } = await context.withLogBuffer(length, async (memory) =>
    verifyLog(copy.egroup, await readWholeLog(copy, memory), context.bulk.begin()),
  )
  const extents: readonly Extent[] | undefined =
    units > placement.units
      ? device.extend(placement.extents, units - placement.units)
      : placement.head(units)
  if (extents === undefined) {
    throw new HitherError(
      'NO_SPACE',
      `device ${device.id} has no room for the index of egroup ${copy.egroup}`,
    )
  }
  const next = new Placement(extents)
  try {
    await device.write(next, length, [indexBlock])
    await device.sync()
    const entry = await context.putEntry(copy, {
      kind: 'full',
      state: 'sealed',
      generation,
      length,
      slotCount: index.count,
      indexOffset: length,
      indexBytes: indexBlock.length,
      extents,
    })
    copy.replaceEntry(entry, placement.tail(units))
  } catch (error) {
    device.free(next.tail(placement.units))
    throw error
  }
  copy.held = undefined
  copy.index = index
  context.indexes.touch(copy)
}

/** Appends the builder's frame to the partial copy, which is made or grown as needed; `false` when there is no room. */
async function appendPartial(
  context: StoreContext,
  egroup: EgroupId,
  stream: VDiskId,
  builder: FrameBuilder,
): Promise<boolean> {
  const copy = context.copies.get(egroup) ?? newPartial(context, egroup, stream, builder.frameBytes)
  if (copy === undefined) return false
  const offset = copy.length
  if (!makeRoom(context, copy, offset + builder.frameBytes)) return false
  const parts = builder.seal({ egroup, stream, generation: copy.entry.generation, offset, baseSlot: 0 })
  const index = copy.index ?? (await loadIndex(context, copy))
  copy.index = index
  copy.indexPinned = true
  try {
    await copy.device.write(copy.placement, offset, parts)
    const frame = parseHead(parts[0]!, 0)!
    index.addFrame(frame)
    copy.length += frame.frameBytes
    copy.slotCount += frame.slotCount
    for (let i = 0; i < frame.slotCount; i++) copy.held!.set(frame.slot(i))
  } finally {
    copy.indexPinned = false
  }
  context.indexes.touch(copy)
  return true
}

function newPartial(
  context: StoreContext,
  egroup: EgroupId,
  stream: VDiskId,
  bytes: number,
): Copy | undefined {
  const units = unitsFor(bytes)
  for (const device of context.devicesFor('ssd', units, 'data')) {
    const extents = device.allocate(units, 'data')
    if (extents !== undefined) return startPartial(context, device, egroup, stream, extents)
  }
  return undefined
}

function startPartial(
  context: StoreContext,
  device: StoreDevice,
  egroup: EgroupId,
  stream: VDiskId,
  extents: readonly Extent[],
): Copy {
  const copy = new Copy(device, {
    egroup,
    stream,
    kind: 'partial',
    state: 'open',
    generation: 0,
    length: 0,
    slotCount: 0,
    serial: context.nextSerial(),
    indexOffset: 0,
    indexBytes: 0,
    extents,
  })
  copy.index = new SlotIndex()
  copy.held = new Bitset()
  context.copies.set(egroup, copy)
  context.inBackground(device.putEntry(copy.entry))
  return copy
}

/** Has room for `bytes` of log in the copy. */
function makeRoom(context: StoreContext, copy: Copy, bytes: number): boolean {
  if (bytes > LOG_BYTES_MAX) return false
  const { device, placement, length, slotCount } = copy
  const missing = unitsFor(bytes) - placement.units
  if (missing <= 0) return true
  const growth = Math.min(Math.max(placement.units, GROWTH_UNITS_MIN), GROWTH_UNITS_MAX)
  const extents =
    device.extend(placement.extents, Math.max(missing, growth)) ?? device.extend(placement.extents, missing)
  if (extents === undefined) return false
  const entry = { ...copy.entry, length, slotCount, serial: context.nextSerial(), extents }
  copy.replaceEntry(entry, [])
  context.inBackground(device.putEntry(entry))
  return true
}
