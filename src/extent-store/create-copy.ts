/** Makes an empty, open copy: the room for its log is taken, and its entry is durable, before it is there. */
import { HitherError } from '../base/errors.ts'
import { EGROUP_BYTES, type Tier } from '../base/units.ts'
import { Copy } from './copy.ts'
import { unitsFor } from './placement.ts'
import { SlotIndex } from './slot-index.ts'
import type { StoreContext } from './store-context.ts'
import type { StoreDevice } from './store-device.ts'
import type { NewCopy, SpaceUse } from './types.ts'
import type { Extent } from './unit-allocator.ts'

/** The tier asked for, then the other. */
export function tiersFrom(tier: Tier): readonly Tier[] {
  return tier === 'ssd' ? ['ssd', 'hdd'] : ['hdd', 'ssd']
}

/** Takes `units` on the emptiest device of the first of `tiers` that has room; `NO_SPACE` when none has. */
export function placeCopy(
  context: StoreContext,
  egroup: number,
  tiers: readonly Tier[],
  units: number,
  use: SpaceUse,
): { readonly device: StoreDevice; readonly extents: Extent[] } {
  for (const tier of tiers) {
    for (const device of context.devicesFor(tier, units, use)) {
      const extents = device.allocate(units, use)
      if (extents !== undefined) return { device, extents }
    }
  }
  throw new HitherError(
    'NO_SPACE',
    `no device of this node (${tiers.join(', ')}) has room for a copy of egroup ${egroup}`,
  )
}

/**
 * Durable when it resolves. Making the same copy again while it is open and empty does nothing. A partial copy gives
 * way; any other is `ALREADY_EXISTS`.
 */
export async function createCopy(context: StoreContext, copy: NewCopy): Promise<void> {
  const { egroup, stream, generation } = copy
  const before = context.copies.get(egroup)
  if (before !== undefined && !before.isPartial) {
    if (before.isOpen && before.length === 0 && before.entry.generation === generation) return
    throw new HitherError('ALREADY_EXISTS', `this node already has a copy of egroup ${egroup}`)
  }
  const roomBytes = copy.roomBytes ?? EGROUP_BYTES
  if (!(roomBytes > 0 && roomBytes <= EGROUP_BYTES)) {
    throw new HitherError(
      'BAD_ARGUMENT',
      `a copy of egroup ${egroup} cannot have room for ${roomBytes} bytes`,
    )
  }
  const { device, extents } = placeCopy(
    context,
    egroup,
    tiersFrom(copy.tier),
    unitsFor(roomBytes),
    copy.use ?? 'data',
  )
  const made = new Copy(device, {
    egroup,
    stream,
    kind: 'full',
    state: 'open',
    generation,
    length: 0,
    slotCount: 0,
    serial: context.nextSerial(),
    indexOffset: 0,
    indexBytes: 0,
    extents,
  })
  made.index = new SlotIndex()
  try {
    await device.putEntry(made.entry)
  } catch (error) {
    device.free(extents)
    throw error
  }
  await context.install(made)
}
