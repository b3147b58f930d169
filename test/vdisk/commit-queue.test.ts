/** Group commit: who shares a frame with whom. */
import { expect, test } from 'vitest'
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
