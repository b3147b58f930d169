/**
 * Packing on several threads. Guards: what comes is what `packSlice` of one thread makes, whoever packed it; other threads do
 * take part; a packer that is not worth it, or ended, says so; what finds no place waits for one, in its order; this thread
 * does one slice a turn of the event loop; and nothing waits for ever when workers end.
 */
import { availableParallelism } from 'node:os'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { packSlice } from '../../src/base/codec.ts'
import { hashOut } from '../../src/base/hash.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { ThreadPacker } from '../../src/platform/real/thread-packer.ts'
import type { PackedSlices, SliceRange } from '../../src/platform/types.ts'

/** Calls of `packSlice` in this thread. */
const { calls } = vi.hoisted(() => ({ calls: { count: 0 } }))
vi.mock('../../src/base/codec.ts', async (original) => {
  const codec = await original<typeof import('../../src/base/codec.ts')>()
  return {
    ...codec,
    packSlice: (...parts: Parameters<typeof codec.packSlice>) => {
      calls.count++
      return codec.packSlice(...parts)
    },
  }
})

const SLICE = 32 * KiB
/** Text-like, noise, and in between: the first compress, the last do not. */
const data = new Uint8Array(MiB)
for (let at = 0, state = 1; at < data.length; at++) {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
  data[at] = (state >>> 24) & (at < MiB / 2 ? 0x0f : 0xff)
}
const whole: SliceRange[] = Array.from({ length: MiB / SLICE }, (_, i) => ({
  offset: i * SLICE,
  bytes: SLICE,
}))

let packer: ThreadPacker

beforeEach(() => {
  packer = new ThreadPacker(2)
})

afterEach(() => packer.close())

function expectPacked(packed: PackedSlices, slices: readonly SliceRange[]): void {
  const target = new Uint8Array(SLICE)
  for (const [i, { offset, bytes }] of slices.entries()) {
    const stored = packSlice(data, offset, bytes, target, 0)
    expect([packed.checksumHi(i), packed.checksumLo(i)]).toEqual([hashOut[0], hashOut[1]])
    expect(Buffer.compare(packed.bytes(i), target.subarray(0, stored))).toBe(0)
  }
}

test('what several threads pack is what one packs, for slices of any size and place', async () => {
  const uneven = [4, 8, 32, 12, 32, 28, 16, 4, 32, 24].map((kib, i) => ({
    offset: i * 99 * KiB + 512,
    bytes: kib * KiB,
  }))
  for (let round = 0; round < 20; round++) {
    for (const slices of [whole, uneven]) {
      const packed = await packer.pack(data, slices)!
      expectPacked(packed, slices)
      packed.release()
    }
  }
})

test.skipIf(availableParallelism() < 2)('workers pack some of it', async () => {
  // They start with the first call, and take a moment.
  for (let round = 0; round < 200; round++) {
    calls.count = 0
    const packed = await packer.pack(data, whole)!
    packed.release()
    if (calls.count < whole.length) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  expect.fail('this thread packed everything')
})

test('a packer says when it is not worth it', () => {
  expect(packer.pack(data, whole.slice(0, 1))).toBeUndefined()
  const small = [0, 1, 2].map((i) => ({ offset: i * 4 * KiB, bytes: 4 * KiB }))
  expect(packer.pack(data, small)).toBeUndefined()
  expect(new ThreadPacker(0).pack(data, whole)).toBeUndefined()
})

test('writes that find no place wait until one is released, the first first', async () => {
  const ended: number[] = []
  const held: PackedSlices[] = []
  const packing = Array.from({ length: 7 }, (_, i) =>
    packer.pack(data, whole)!.then((packed) => {
      ended.push(i)
      held.push(packed)
    }),
  )
  await Promise.all(packing.slice(0, 4))
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect([...ended].sort()).toEqual([0, 1, 2, 3])
  for (const next of [4, 5, 6]) {
    held.shift()!.release()
    await packing[next]
    expect(ended.at(-1)).toBe(next)
  }
  for (const packed of held) expectPacked(packed, whole)
})

test('other work of this thread goes on between its slices', async () => {
  const warm = await packer.pack(data, whole)!
  warm.release()
  calls.count = 0
  let most = 0
  let before = 0
  let packed: PackedSlices | undefined
  void packer.pack(data, whole)!.then((result) => {
    packed = result
  })
  while (packed === undefined) {
    most = Math.max(most, calls.count - before)
    before = calls.count
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(most).toBeLessThanOrEqual(1)
})

test('writes under way when the workers end are packed all the same', async () => {
  for (let round = 0; round < 10; round++) {
    const ending = new ThreadPacker(2)
    const warm = await ending.pack(data, whole)!
    warm.release()
    await new Promise((resolve) => setTimeout(resolve, round * 10))
    const packing = Array.from({ length: 6 }, () => ending.pack(data, whole)!)
    const closing = ending.close()
    for (const each of packing) {
      const packed = await each
      expectPacked(packed, whole)
      packed.release()
    }
    await closing
    expect(ending.pack(data, whole)).toBeUndefined()
  }
})
