/**
 * Memory for bytes that are let go in the order in which they came: slabs, used again and again, instead of a new buffer
 * for each. Fresh buffers cost the simulator more than the bytes that it copies into them.
 */
import { KiB } from '../../base/units.ts'

const SLAB_BYTES = 256 * KiB
/** Empty slabs kept for later. */
const SPARE_SLABS = 4

interface Slab {
  readonly bytes: Uint8Array
  used: number
  /** Pieces that are still held. */
  held: number
}

export class ByteQueue {
  /** Oldest first; the last one is being filled. */
  #slabs: Slab[] = []
  #spare: Uint8Array[] = []

  /** Holds a copy of the source, of at most 256 KiB. It stays as it is until `drop` has come to it. */
  push(source: Uint8Array): Uint8Array {
    let slab = this.#slabs.at(-1)
    if (!slab || slab.used + source.length > SLAB_BYTES) {
      slab = { bytes: this.#spare.pop() ?? new Uint8Array(SLAB_BYTES), used: 0, held: 0 }
      this.#slabs.push(slab)
    }
    const copy = slab.bytes.subarray(slab.used, slab.used + source.length)
    copy.set(source)
    slab.used += source.length
    slab.held += 1
    return copy
  }

  /** Lets the oldest copy go. */
  drop(): void {
    const oldest = this.#slabs[0]
    if (!oldest) return
    oldest.held -= 1
    if (oldest.held > 0) return
    this.#slabs.shift()
    if (this.#spare.length < SPARE_SLABS) this.#spare.push(oldest.bytes)
  }
}
