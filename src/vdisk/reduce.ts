/**
 * Data reduction of one write, in three steps.
 *
 *   classify   each 4 KiB block: zero → hole; else its fingerprint is looked up, and a candidate's bytes are compared
 *              (in the cache, or after a read): the same → duplicate, anything else → unique. xxHash64 can be collided
 *              on purpose, so a fingerprint alone never counts.
 *   pack       of a large write, the slices that `emit` will make are compressed by other threads, too.
 *   emit       holes, duplicates and runs of up to 8 unique blocks go into the batch as records and slices; a run
 *              becomes one slice, compressed when that saves a sector.
 *
 * `classify` may have to wait for a read, and `pack` for other threads; `emit` is synchronous, and its order is the order of the log.
 * A candidate is in the index only after the frame that holds it was acknowledged, so a duplicate never refers to
 * bytes that might not exist.
 */

import { isZero, sameBytes } from '../base/bytes.ts'
import { decompressed } from '../base/codec.ts'
import { INSPECT_HIGH, INSPECT_LOW, INSPECT_WORDS, INSPECT_ZERO, inspectBlocks } from '../base/hash.ts'
import { BLOCK_BYTES, SLICE_BLOCKS_MAX } from '../base/units.ts'
import type { CandidateIndex } from '../dedupe/candidate-index.ts'
import {
  CODEC_LZ4,
  CODEC_RAW,
  type EncodedSlice,
  KIND_DATA,
  type StoredSlice,
} from '../extent-store/types.ts'
import type { PackedSlices, SlicePacker, SliceRange } from '../platform/types.ts'
import type { SliceReader } from '../replication/slice-reader.ts'
import { type Batch, OWN_EGROUP } from './batch.ts'
import type { BlockCache } from './block-cache.ts'

import type { VDiskCounters } from './counters.ts'

/** Blocks of one step of a write; longer writes take several steps. 256 blocks are 1 MiB, one frame's payload. */
export const PLAN_BLOCKS_MAX = 256

const UNIQUE = 0
const ZERO = 1
const DUPLICATE = 2
const UNVERIFIED = 3

export class WritePlan {
  readonly kinds = new Uint8Array(PLAN_BLOCKS_MAX)
  readonly egroups = new Uint32Array(PLAN_BLOCKS_MAX)
  readonly refs = new Uint32Array(PLAN_BLOCKS_MAX)
  readonly fingerprintHi = new Uint32Array(PLAN_BLOCKS_MAX)
  readonly fingerprintLo = new Uint32Array(PLAN_BLOCKS_MAX)
  uniqueBlocks = 0
}

export interface ReduceDeps {
  readonly compression: boolean
  readonly dedupe: boolean
  readonly candidates: CandidateIndex
  readonly cache: BlockCache
  readonly reader: SliceReader
  readonly packer: SlicePacker | undefined
  /** A stored block was found again: reclaim must not take it away (curator/reclaim.ts). */
  readonly onHit: (egroup: number, ref: number) => void
  readonly counters: VDiskCounters
}

/** Fewer blocks are not worth a look at the packer. */
const PACK_BLOCKS_MIN = 4

export class Reducer {
  private readonly deps: ReduceDeps
  private readonly spare: WritePlan[] = []

  constructor(deps: ReduceDeps) {
    this.deps = deps
  }

  takePlan(): WritePlan {
    return this.spare.pop() ?? new WritePlan()
  }

  returnPlan(plan: WritePlan): void {
    if (this.spare.length < 64) this.spare.push(plan)
  }

  /** Looks at `count` blocks of `data` from `offset`. `undefined`: done; else wait for the promise. */
  classify(plan: WritePlan, data: Uint8Array, offset: number, count: number): Promise<void> | undefined {
    const { dedupe, candidates, cache } = this.deps
    let unverified = 0
    plan.uniqueBlocks = 0
    const words = dedupe ? inspectBlocks(data, offset, count) : undefined
    if (words !== undefined && count > 1) {
      for (let i = 0; i < count; i++) candidates.touch(words[i * INSPECT_WORDS + INSPECT_HIGH]!)
    }
    for (let i = 0; i < count; i++) {
      const at = offset + i * BLOCK_BYTES
      const word = i * INSPECT_WORDS
      if (words === undefined ? isZero(data, at, BLOCK_BYTES) : words[word + INSPECT_ZERO] !== 0) {
        plan.kinds[i] = ZERO
        continue
      }
      plan.kinds[i] = UNIQUE
      if (words !== undefined) {
        const hi = words[word + INSPECT_HIGH]!
        const lo = words[word + INSPECT_LOW]!
        plan.fingerprintHi[i] = hi
        plan.fingerprintLo[i] = lo
        if (candidates.lookup(hi, lo)) {
          plan.egroups[i] = candidates.egroup
          plan.refs[i] = candidates.ref
          // From here on, reclaim keeps what the candidate refers to.
          this.deps.onHit(candidates.egroup, candidates.ref)
          const same = cache.equals(candidates.egroup, candidates.ref, data, at)
          if (same === true) plan.kinds[i] = DUPLICATE
          else if (same === undefined) {
            plan.kinds[i] = UNVERIFIED
            unverified++
          }
        }
      }
      if (plan.kinds[i] === UNIQUE) plan.uniqueBlocks++
    }
    return unverified === 0 ? undefined : this.verify(plan, data, offset, count)
  }

  /** `undefined`: `emit` does it. The caller releases what it gets. */
  pack(plan: WritePlan, data: Uint8Array, offset: number, count: number): Promise<PackedSlices> | undefined {
    const { packer, compression } = this.deps
    if (packer === undefined || !compression || plan.uniqueBlocks < PACK_BLOCKS_MIN) return undefined
    const slices: SliceRange[] = []
    for (let i = 0; i < count; ) {
      const end = plan.kinds[i] === UNIQUE ? uniqueRunEnd(plan, i, count) : i + 1
      if (plan.kinds[i] === UNIQUE) {
        slices.push({ offset: offset + i * BLOCK_BYTES, bytes: (end - i) * BLOCK_BYTES })
      }
      i = end
    }
    return packer.pack(data, slices)
  }

  /**
   * Adds the planned blocks, which start at block `start` of the vDisk, to the batch.
   * @param packed what `pack` made of the same plan
   */
  emit(
    batch: Batch,
    plan: WritePlan,
    start: number,
    data: Uint8Array,
    offset: number,
    count: number,
    packed?: PackedSlices,
  ): void {
    const { kinds } = plan
    let slices = 0
    const storedBefore = batch.builder.payloadBytes
    let zeros = 0
    let duplicates = 0
    let unique = 0
    for (let i = 0; i < count; ) {
      const kind = kinds[i]!
      let end = i + 1
      if (kind === ZERO) {
        while (end < count && kinds[end] === ZERO) end++
        batch.addHole(start + i, end - i)
        zeros += end - i
      } else if (kind === DUPLICATE) {
        end = this.duplicateRunEnd(plan, i, count)
        batch.addMapped(start + i, end - i, plan.egroups[i]!, plan.refs[i]!)
        duplicates += end - i
      } else {
        end = uniqueRunEnd(plan, i, count)
        const slot =
          packed === undefined
            ? this.addSlice(batch, data, offset + i * BLOCK_BYTES, (end - i) * BLOCK_BYTES)
            : addPacked(batch, packed, slices++, (end - i) * BLOCK_BYTES)
        this.recordSlice(batch, plan, start, i, end, slot)
        unique += end - i
      }
      i = end
    }
    const stored = batch.builder.payloadBytes - storedBefore
    this.deps.counters.countSaved(
      zeros * BLOCK_BYTES,
      duplicates * BLOCK_BYTES,
      unique * BLOCK_BYTES - stored,
    )
  }

  private addSlice(batch: Batch, data: Uint8Array, offset: number, rawBytes: number): number {
    return batch.builder.addSlice(data, offset, rawBytes, KIND_DATA, this.deps.compression)
  }

  private recordSlice(
    batch: Batch,
    plan: WritePlan,
    start: number,
    from: number,
    end: number,
    slot: number,
  ): void {
    if (this.deps.dedupe) {
      for (let i = from; i < end; i++) {
        batch.addFingerprint(plan.fingerprintHi[i]!, plan.fingerprintLo[i]!, (slot << 3) | (i - from))
      }
    }
    batch.addMapped(start + from, end - from, OWN_EGROUP, slot << 3)
  }

  /** Neighbours that are duplicates of neighbours in the same slice share a record. */
  private duplicateRunEnd(plan: WritePlan, from: number, count: number): number {
    let end = from + 1
    while (
      end < count &&
      plan.kinds[end] === DUPLICATE &&
      plan.egroups[end] === plan.egroups[from] &&
      plan.refs[end] === plan.refs[end - 1]! + 1 &&
      plan.refs[end]! >>> 3 === plan.refs[from]! >>> 3
    ) {
      end++
    }
    return end
  }

  /** Reads the candidates that are not cached, and compares. What cannot be read is unique. */
  private async verify(plan: WritePlan, data: Uint8Array, offset: number, count: number): Promise<void> {
    const wanted = new Map<number, Set<number>>()
    for (let i = 0; i < count; i++) {
      if (plan.kinds[i] !== UNVERIFIED) continue
      const slots = wanted.get(plan.egroups[i]!) ?? new Set<number>()
      slots.add(plan.refs[i]! >>> 3)
      wanted.set(plan.egroups[i]!, slots)
    }
    await Promise.all(
      [...wanted].map(async ([egroup, slots]) => {
        try {
          const { slices } = await this.deps.reader.read(egroup, [...slots])
          for (const slice of slices) this.compare(plan, egroup, slice, data, offset, count)
        } catch {
          // A candidate that cannot be read is no candidate.
        }
      }),
    )
    for (let i = 0; i < count; i++) {
      if (plan.kinds[i] !== UNVERIFIED) continue
      plan.kinds[i] = UNIQUE
      plan.uniqueBlocks++
    }
  }

  private compare(
    plan: WritePlan,
    egroup: number,
    slice: StoredSlice,
    data: Uint8Array,
    offset: number,
    count: number,
  ): void {
    const raw = decodeSlice(slice)
    cacheSlice(this.deps.cache, egroup, slice.slot, raw, slice.rawBytes)
    for (let i = 0; i < count; i++) {
      if (plan.kinds[i] !== UNVERIFIED || plan.egroups[i] !== egroup) continue
      const ref = plan.refs[i]!
      if (ref >>> 3 !== slice.slot) continue
      const at = (ref & 7) * BLOCK_BYTES
      const inside = at + BLOCK_BYTES <= slice.rawBytes
      const same = inside && sameBytes(raw, at, data, offset + i * BLOCK_BYTES, BLOCK_BYTES)
      plan.kinds[i] = same ? DUPLICATE : UNIQUE
      if (!same) plan.uniqueBlocks++
    }
  }
}

/** End of the run of blocks that becomes one slice. */
function uniqueRunEnd({ kinds }: WritePlan, from: number, count: number): number {
  let end = from + 1
  while (end < count && kinds[end] === UNIQUE && end - from < SLICE_BLOCKS_MAX) end++
  return end
}

function addPacked(batch: Batch, packed: PackedSlices, slice: number, rawBytes: number): number {
  const bytes = packed.bytes(slice)
  return batch.builder.addStored({
    bytes,
    rawBytes,
    codec: bytes.length < rawBytes ? CODEC_LZ4 : CODEC_RAW,
    kind: KIND_DATA,
    checksumHi: packed.checksumHi(slice),
    checksumLo: packed.checksumLo(slice),
  })
}

/**
 * The slice's raw bytes: its own when stored raw, else memory of the codec, which the next use of codec or hash overwrites.
 * Read only.
 */
export function decodeSlice(slice: EncodedSlice): Uint8Array {
  const { codec, bytes, rawBytes } = slice
  return codec === CODEC_LZ4 ? decompressed(bytes, 0, bytes.length, rawBytes) : bytes
}

/** Puts every block of a data slice into the cache. */
export function cacheSlice(
  cache: BlockCache,
  egroup: number,
  slot: number,
  raw: Uint8Array,
  rawBytes: number,
): void {
  const blocks = rawBytes / BLOCK_BYTES
  for (let sub = 0; sub < blocks; sub++) cache.insert(egroup, (slot << 3) | sub, raw, sub * BLOCK_BYTES)
}
