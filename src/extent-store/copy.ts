/**
 * One copy on this node while the store is open: its durable entry, and what is known beyond it.
 *
 * Appends, seal, fence and growth change a copy in place; offsets in its log keep their meaning. Whatever writes the
 * log anew (compaction, import, a move between tiers) makes a new `Copy`, so that whoever holds the old one, with
 * its index and placement, still sees one consistent whole.
 */
import type { Bitset } from '../base/bitset.ts'
import type { EgroupId } from '../base/units.ts'
import type { CopyEntry } from './copy-table.ts'
import { Placement } from './placement.ts'
import type { IndexHolder, SlotIndex } from './slot-index.ts'
import type { StoreDevice } from './store-device.ts'
import type { CopyInfo } from './types.ts'
import type { Extent } from './unit-allocator.ts'
import type { ZeroAhead } from './zero-ahead.ts'

export class Copy implements IndexHolder {
  readonly device: StoreDevice
  /** What the copy table says, or will say when the change under way is durable. */
  entry: CopyEntry
  placement: Placement
  /** Valid log bytes, all of them readable. */
  length: number
  /** Open copies: log bytes known to be durable since they were appended; of those found at open, nothing is known. */
  durableLength = 0
  slotCount: number
  /** Open copies always have it; others when it was needed lately. */
  index: SlotIndex | undefined
  /** Load under way, shared by all who wait for it. */
  indexLoading: Promise<SlotIndex> | undefined
  indexPinned = false
  /** Open copies: log offsets at which a frame ends, ascending. */
  frameEnds: number[] = []
  /** Open copies of small durable frames on a sparse device. */
  zeroAhead: ZeroAhead | undefined
  /** Partial copies: the slots they hold. */
  held: Bitset | undefined

  constructor(device: StoreDevice, entry: CopyEntry) {
    this.device = device
    this.entry = entry
    this.placement = new Placement(entry.extents)
    this.length = entry.length
    this.slotCount = entry.slotCount
  }

  get egroup(): EgroupId {
    return this.entry.egroup
  }

  get isOpen(): boolean {
    return this.entry.kind === 'full' && this.entry.state === 'open'
  }

  get isSealed(): boolean {
    return this.entry.kind === 'full' && this.entry.state === 'sealed'
  }

  get isPartial(): boolean {
    return this.entry.kind === 'partial'
  }

  /** Takes over an entry with other extents; the units given up are freed when their readers are done. */
  replaceEntry(entry: CopyEntry, givenUp: readonly Extent[]): void {
    const before = this.placement
    this.entry = entry
    this.placement = new Placement(entry.extents)
    this.device.retire(before, givenUp, this.placement)
  }

  info(): CopyInfo {
    const { entry } = this
    return {
      egroup: entry.egroup,
      stream: entry.stream,
      kind: entry.kind,
      state: entry.state,
      device: this.device.id,
      tier: this.device.tier,
      generation: entry.generation,
      length: this.length,
      allocatedBytes: this.placement.bytes,
      slotCount: this.slotCount,
    }
  }
}
