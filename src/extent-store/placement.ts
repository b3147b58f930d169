/**
 * Where on its device a copy's log lies: a list of extents, read as one address space of log offsets.
 *
 * A placement never changes. Growing, truncating, compacting or moving a copy gives it a new placement, and the old
 * one is retired with the units that the copy gave up. Readers pin the placement they took their offsets from; units
 * go back to the allocator when the last pin is gone. So a unit is never written again under a reader's hands, and
 * new readers, which pin the new placement, cannot keep the old one alive. A placement that takes over units is
 * itself pinned by the one before for as long as that one has readers.
 */
import { invariant } from '../base/errors.ts'
import { KiB } from '../base/units.ts'
import type { Extent } from './unit-allocator.ts'

/** The unit of space on a device. */
export const UNIT_BYTES = 64 * KiB

export class Placement {
  readonly extents: readonly Extent[]
  readonly units: number
  #pins = 0
  #onUnpinned: (() => void) | undefined

  constructor(extents: readonly Extent[]) {
    this.extents = extents
    this.units = extents.reduce((sum, extent) => sum + extent.count, 0)
  }

  get bytes(): number {
    return this.units * UNIT_BYTES
  }

  pin(): void {
    this.#pins++
  }

  unpin(): void {
    if (--this.#pins > 0) return
    const onUnpinned = this.#onUnpinned
    this.#onUnpinned = undefined
    onUnpinned?.()
  }

  /**
   * Calls `release` when no reader holds this placement any more: at once, or at the last `unpin`. `next` is the
   * placement that goes on using some of its units. Once only.
   */
  retire(release: () => void, next?: Placement): void {
    if (this.#pins === 0) {
      release()
      return
    }
    next?.pin()
    this.#onUnpinned = () => {
      release()
      next?.unpin()
    }
  }

  /** The first `units` units, as extents. */
  head(units: number): Extent[] {
    return this.#slice(0, units)
  }

  /** All units after the first `units`, as extents. */
  tail(units: number): Extent[] {
    return this.#slice(units, this.units)
  }

  /** Unit-relative device offset of a log range that is contiguous on the device; −1 when it is not, or not in the log. */
  startOf(offset: number, length: number): number {
    let extentStart = 0
    for (const extent of this.extents) {
      const extentBytes = extent.count * UNIT_BYTES
      const at = offset - extentStart
      if (at < extentBytes) {
        return at >= 0 && at + length <= extentBytes ? extent.start * UNIT_BYTES + at : -1
      }
      extentStart += extentBytes
    }
    return -1
  }

  /**
   * Cuts the log range into pieces that are contiguous on the device. `visit` gets the unit-relative device offset
   * (from the start of the data area), how far into the range the piece starts, and its length.
   */
  forRange(
    offset: number,
    length: number,
    visit: (areaOffset: number, from: number, bytes: number) => void,
  ): void {
    invariant(offset >= 0 && offset + length <= this.bytes, 'a log range lies inside its copy')
    let extentStart = 0
    let done = 0
    for (const extent of this.extents) {
      const extentBytes = extent.count * UNIT_BYTES
      const at = offset + done - extentStart
      if (at < extentBytes && done < length) {
        const bytes = Math.min(length - done, extentBytes - at)
        visit(extent.start * UNIT_BYTES + at, done, bytes)
        done += bytes
      }
      extentStart += extentBytes
    }
  }

  #slice(from: number, to: number): Extent[] {
    const extents: Extent[] = []
    let at = 0
    for (const extent of this.extents) {
      const first = Math.max(from - at, 0)
      const last = Math.min(to - at, extent.count)
      if (first < last) extents.push({ start: extent.start + first, count: last - first })
      at += extent.count
    }
    return extents
  }
}

/** Units that `bytes` of log take. */
export function unitsFor(bytes: number): number {
  return Math.ceil(bytes / UNIT_BYTES)
}
