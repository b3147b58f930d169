/**
 * Packs as the workers of a real CVM do (platform/real/thread-packer.ts), as far as the engine can tell: the slices of a
 * large write come a moment later, and other writes overtake it meanwhile.
 */
import { packSlice } from '../../base/codec.ts'
import { hashOut } from '../../base/hash.ts'
import type { PackedSlices, Random, SlicePacker, SliceRange } from '../types.ts'
import type { SimLoop } from './loop.ts'

/** From how many bytes on; fewer than the real one asks for, as simulated writes are small. */
const WORTH_BYTES = 16 * 1024
/** Longest time that packing takes, ms of virtual time. */
const PACK_MS_MAX = 2

export class SimPacker implements SlicePacker {
  private readonly loop: SimLoop
  private readonly random: Random

  constructor(loop: SimLoop, random: Random) {
    this.loop = loop
    this.random = random
  }

  pack(data: Uint8Array, slices: readonly SliceRange[]): Promise<PackedSlices> | undefined {
    let bytes = 0
    for (const slice of slices) bytes += slice.bytes
    if (bytes < WORTH_BYTES) return undefined
    const packed = slices.map((slice) => pack(data, slice))
    return new Promise((resolve) => {
      this.loop.after((this.random.below(1000) / 1000) * PACK_MS_MAX, () =>
        resolve({
          bytes: (slice) => packed[slice]!.bytes,
          checksumHi: (slice) => packed[slice]!.hi,
          checksumLo: (slice) => packed[slice]!.lo,
          release: () => {},
        }),
      )
    })
  }
}

function pack(
  data: Uint8Array,
  { offset, bytes }: SliceRange,
): { bytes: Uint8Array; hi: number; lo: number } {
  const target = new Uint8Array(bytes)
  const stored = packSlice(data, offset, bytes, target, 0)
  return { bytes: target.subarray(0, stored), hi: hashOut[0]!, lo: hashOut[1]! }
}
