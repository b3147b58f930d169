/** Group commit: who shares a frame with whom. */
import { expect, test } from 'vitest'
import { HitherError } from '../../src/base/errors.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimClock } from '../../src/platform/sim/sim-clock.ts'
import type { StreamWriter } from '../../src/replication/stream-writer.ts'
import { BatchPool } from '../../src/vdisk/batch.ts'
import { CommitQueue } from '../../src/vdisk/commit-queue.ts'

const FRAMES = 40
const WRITERS = 8

/**
 * Eight writers that commit again and again, the second four of them when the first four's frame is under way. Returns how
 * many were in each frame.
 * @param back what a writer waits for before it commits again
 */
async function framesOf(frameMs: number, back: (clock: SimClock) => Promise<void>): Promise<number[]> {
  const loop = new SimLoop()
  const clock = new SimClock(loop)
  const sizes: number[] = []
  let waiting = 0
  const stream = {
    append: async () => {
      sizes.push(waiting)
      waiting = 0
      await clock.sleep(frameMs)
      return { egroup: 1, order: 1, offset: 0, endOffset: 512 * sizes.length, baseSlot: 0 }
    },
  } as unknown as StreamWriter
  const queue = new CommitQueue(
    { stream, batches: new BatchPool(), clock, syncEachFrame: true, apply: () => {}, onFatal: () => {} },
    { order: 1, offset: 0 },
  )
  const writer = async (start: Promise<void> | undefined): Promise<void> => {
    if (start !== undefined) await start
    while (sizes.length < FRAMES) {
      const batch = queue.batch(0, 'data')
      batch.addHole(0, 1)
      waiting++
      await queue.commit(batch, false)
      await back(clock)
    }
  }
  const later = clock.sleep(frameMs / 2)
  await Promise.all(Array.from({ length: WRITERS }, (_, i) => writer(i < WRITERS / 2 ? undefined : later)))
  return sizes
}

test.each([
  { who: 'writers of this process', frameMs: 0.1, back: async () => {} },
  {
    who: 'writers behind a socket',
    frameMs: 3,
    back: (clock: SimClock) => clock.turn().then(() => clock.turn()),
  },
])('$who share a frame again, although they began apart', async ({ frameMs, back }) => {
  const sizes = await framesOf(frameMs, back)
  expect(sizes[0]).toBe(WRITERS / 2)
  expect(sizes.slice(2, FRAMES - 2).every((size) => size === WRITERS)).toBe(true)
})

test('a writer that stays away holds the others up for a part of a frame and no longer', async () => {
  const slow = await framesOf(3, (clock) => clock.sleep(2))
  expect(slow.length).toBeGreaterThanOrEqual(FRAMES)
  expect(slow.slice(4).some((size) => size < WRITERS)).toBe(true)
})

test('when the CVM dies while a frame gathers its writers, they hear it, and nothing is left without a listener', async () => {
  const loop = new SimLoop()
  const clock = new SimClock(loop)
  const down = new HitherError('CVM_DOWN', 'the CVM is down')
  let dead = false
  clock.turn = () => {
    dead = true
    return Promise.reject(down)
  }
  const stream = {
    append: async () => {
      if (dead) throw down
      await clock.sleep(3)
      return { egroup: 1, order: 1, offset: 0, endOffset: 512, baseSlot: 0 }
    },
  } as unknown as StreamWriter
  const fatal: unknown[] = []
  const queue = new CommitQueue(
    {
      stream,
      batches: new BatchPool(),
      clock,
      syncEachFrame: true,
      apply: () => {},
      onFatal: (error) => fatal.push(error),
    },
    { order: 1, offset: 0 },
  )
  const commit = () => {
    const batch = queue.batch(0, 'data')
    batch.addHole(0, 1)
    return queue.commit(batch, false)
  }
  const writers = [commit(), commit()]
  await clock.sleep(1)
  // One comes while the frame is under way, and the two of that frame do not come back: the next one waits for them.
  const late = commit()
  await Promise.all(writers)
  await expect(late).rejects.toBe(down)
  expect(dead).toBe(true)
  expect(fatal).toEqual([down])
})
