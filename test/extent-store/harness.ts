/** Makes egroups for the tests: known bytes for every slot, frames as the layers above would build them. */
import { expect } from 'vitest'
import { Bitset } from '../../src/base/bitset.ts'
import { decompressInto } from '../../src/base/codec.ts'
import { codeOf } from '../../src/base/errors.ts'
import { hash64, hashOut } from '../../src/base/hash.ts'
import { BLOCK_BYTES, KiB, MiB, type Tier } from '../../src/base/units.ts'
import { ExtentStore } from '../../src/extent-store/extent-store.ts'
import { FrameBuilder } from '../../src/extent-store/frame-writer.ts'
import { CODEC_LZ4, KIND_DATA, type SliceRead, type StoredSlice } from '../../src/extent-store/types.ts'
import { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import type { BlockDevice, Random } from '../../src/platform/types.ts'

export const NODE = 'node-1'
export const STREAM = 7

/** A small generator of our own: the same seed gives the same bytes. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0 || 1
  const u32 = (): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state
  }
  return { u32, below: (bound) => u32() % bound }
}

/** The raw bytes that slot `slot` of `egroup` holds in all tests; `blocks` of 4 KiB. Every other slot shrinks. */
export function rawOf(egroup: number, slot: number, blocks: number): Uint8Array {
  const key = `${egroup} ${slot} ${blocks}`
  const known = raws.get(key) ?? makeRaw(egroup, slot, blocks)
  raws.set(key, known)
  return known
}

const raws = new Map<string, Uint8Array>()

function makeRaw(egroup: number, slot: number, blocks: number): Uint8Array {
  const bytes = new Uint8Array(blocks * BLOCK_BYTES)
  const random = randomOf(egroup * 65_537 + slot + 1)
  const words = new Uint32Array(bytes.buffer)
  const period = slot % 2 === 0 ? words.length : 64
  for (let at = 0; at < words.length; at++) words[at] = at < period ? random.u32() : words[at - period]!
  return bytes
}

/** One frame of data slices: `blocks[i]` blocks in slot `baseSlot + i`, mapped at vDisk block 1000 + slot. */
export function buildFrame(
  builder: FrameBuilder,
  place: { egroup: number; offset: number; baseSlot: number; generation?: number },
  blocks: readonly number[],
): readonly Uint8Array[] {
  builder.reset()
  blocks.forEach((count, i) => {
    const slot = place.baseSlot + i
    const raw = rawOf(place.egroup, slot, count)
    const relative = builder.addSlice(raw, 0, raw.length, KIND_DATA, true)
    for (let sub = 0; sub < count; sub++) {
      hash64(raw, sub * BLOCK_BYTES, BLOCK_BYTES)
      builder.addFingerprint(hashOut[0]!, hashOut[1]!)
    }
    builder.addMapped(1000 + slot, count, 0, relative * 8)
  })
  return builder.seal({ generation: 1, stream: STREAM, ...place })
}

/** Appends frames to one egroup and keeps the count: what the owner of a stream does. */
export class Writer {
  readonly egroup: number
  offset = 0
  slots = 0
  /** Blocks of each slot. */
  readonly blocksOf: number[] = []
  /** Log offsets at which a frame ends, and how many slots there are at each. */
  readonly ends: number[] = [0]
  readonly #slotsAtEnd: number[] = [0]
  readonly #builder = new FrameBuilder()

  constructor(egroup: number) {
    this.egroup = egroup
  }

  frame(blocks: readonly number[]): readonly Uint8Array[] {
    return buildFrame(
      this.#builder,
      { egroup: this.egroup, offset: this.offset, baseSlot: this.slots },
      blocks,
    )
  }

  async append(
    store: ExtentStore,
    blocks: readonly number[],
    options: { sync?: boolean; generation?: number } = {},
  ): Promise<void> {
    const parts = this.frame(blocks)
    await store.append({
      egroup: this.egroup,
      generation: options.generation ?? 1,
      offset: this.offset,
      parts,
      sync: options.sync ?? true,
    })
    this.offset += lengthOf(parts)
    this.slots += blocks.length
    this.blocksOf.push(...blocks)
    this.ends.push(this.offset)
    this.#slotsAtEnd.push(this.slots)
  }

  /** The log ends at `length`, the end of a frame, from now on. */
  cut(length: number): void {
    const frames = this.ends.indexOf(length)
    if (frames < 0) throw new Error(`no frame ends at ${length}`)
    this.offset = length
    this.slots = this.#slotsAtEnd[frames]!
    this.blocksOf.length = this.slots
    this.ends.length = frames + 1
    this.#slotsAtEnd.length = frames + 1
  }
}

export function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0)
}

const storedBuilder = new FrameBuilder(64 * KiB)

/** The slice as the frame builder would store it, on its own. */
export function storedOf(egroup: number, slot: number, blocks: number): StoredSlice {
  const builder = storedBuilder
  builder.reset()
  const raw = rawOf(egroup, slot, blocks)
  builder.addSlice(raw, 0, raw.length, KIND_DATA, true)
  const [head, payload] = builder.seal({ egroup, generation: 1, offset: 0, baseSlot: 0, stream: STREAM })
  const view = new DataView(head!.buffer, head!.byteOffset)
  const meta = view.getUint32(64 + 8, true)
  return {
    slot,
    codec: (meta >>> 24) & 15,
    kind: meta >>> 28,
    rawBytes: raw.length,
    checksumLo: view.getUint32(64 + 16, true),
    checksumHi: view.getUint32(64 + 20, true),
    bytes: payload!.slice(0, meta & 0xff_ffff),
  }
}

/** Whether a read says `ok` and its bytes, decompressed, are those of the slot. */
export function isRight(egroup: number, read: SliceRead | undefined): boolean {
  if (read?.status !== 'ok') return false
  const { slice } = read
  const raw = new Uint8Array(slice.rawBytes)
  if (slice.codec === CODEC_LZ4) decompressInto(slice.bytes, 0, slice.bytes.length, raw, 0, raw.length)
  else raw.set(slice.bytes)
  return Buffer.compare(raw, rawOf(egroup, slice.slot, raw.length / BLOCK_BYTES)) === 0
}

export function memoryDevice(size = 32 * MiB, tier: Tier = 'ssd', id = `node-1.${tier}0`): MemoryDevice {
  return new MemoryDevice({ id, tier, size })
}

export function openStore(...devices: BlockDevice[]): Promise<ExtentStore> {
  return ExtentStore.open({ node: NODE, devices })
}

/** An open copy with the frames given, each a list of slice sizes in blocks. */
export async function fill(
  store: ExtentStore,
  egroup: number,
  frames: readonly (readonly number[])[],
  tier: Tier = 'ssd',
): Promise<Writer> {
  await store.createCopy({ egroup, stream: STREAM, generation: 1, tier })
  const writer = new Writer(egroup)
  for (const blocks of frames) await writer.append(store, blocks)
  return writer
}

export function allSlots(writer: Writer): number[] {
  return Array.from({ length: writer.slots }, (_, slot) => slot)
}

/** Whole log of a copy as chunks, for `importCopy`. */
export async function* chunksOf(log: Uint8Array, chunkBytes = 100_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < log.length; at += chunkBytes) yield log.subarray(at, at + chunkBytes)
}

/** Code of the error that `work` rejects with, or the error as text; `undefined` when it does not. */
export async function codeFrom(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work
    return undefined
  } catch (error) {
    return codeOf(error) ?? String(error)
  }
}

export function setOf(slots: Iterable<number>): Bitset {
  const set = new Bitset()
  for (const slot of slots) set.set(slot)
  return set
}

/** Flips a byte in the middle of an incompressible slot, found by its contents. */
export async function damageSlot(device: BlockDevice, egroup: number, slot: number): Promise<void> {
  const needle = rawOf(egroup, slot, 1).subarray(1000, 1064)
  const all = Buffer.alloc(device.size)
  await device.read(0, all)
  const at = all.indexOf(needle)
  expect(at).toBeGreaterThan(0)
  await device.write(at, Uint8Array.of(all[at]! ^ 0xff))
}
