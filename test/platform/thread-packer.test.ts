/**
 * Packing on several threads. Guards: what comes is what `packSlice` of one thread makes, whoever packed it; other threads do
 * take part; a packer that is not worth it, or ended, says so; what finds no place waits for one, in its order; this thread
 * does one slice a turn of the event loop; a worker makes no more memory than it can use; and nothing waits for ever when workers
 * end.
 */
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { kernel } from '../../src/base/chosen-path.ts'
import { packSlice } from '../../src/base/codec.ts'
import { hashOut } from '../../src/base/hash.ts'
import { KERNEL_MEMORY_PAGES } from '../../src/base/kernel.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { PackStage, STAGE_WORDS } from '../../src/platform/real/pack-stage.ts'
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
    const closing = Promise.all([ending.close(), ending.close()])
    for (const each of packing) {
      const packed = await each
      expectPacked(packed, whole)
      packed.release()
    }
    await closing
    expect(ending.pack(data, whole)).toBeUndefined()
  }
})

test('a worker whose output does not come back takes no slices, until some has', async () => {
  const workerData = {
    number: 1,
    kernelModule: kernel!.module,
    memoryPages: KERNEL_MEMORY_PAGES,
    leastSaved: 512,
    outputsMax: 2,
    words: STAGE_WORDS,
  }
  const worker = new Worker(new URL('../../src/platform/real/pack-worker.mjs', import.meta.url), {
    workerData,
  })
  const stage = new PackStage(7, MiB, whole.length, () => {})
  worker.postMessage({ id: 7, stage: stage.memory })
  const told: { packed: number; output: Uint8Array<ArrayBuffer> }[] = []
  worker.on('message', (each) => told.push(each))
  const share = (): void => {
    stage.fill(data, whole)
    stage.share()
  }
  for (let job = 1; job <= 2; job++) {
    share()
    worker.postMessage({ id: 7 })
    await once(worker, 'message')
    expect(told.map(({ packed }) => packed)).toEqual(Array(job).fill(whole.length))
  }
  share()
  for (let i = 0; i < 20; i++) worker.postMessage({ id: 7 })
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect([told.length, stage.memory.left[0]]).toEqual([2, whole.length])
  const { output } = told.pop()!
  worker.postMessage({ id: 7, output }, [output.buffer])
  await once(worker, 'message')
  expect(told.at(-1)!.packed).toBe(whole.length)
  await worker.terminate()
})
