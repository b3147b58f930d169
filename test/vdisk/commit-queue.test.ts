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

interface Load {
  readonly frameMs: number
  readonly clock?: SimClock
  /** What writer i waits for before it commits again. */
  readonly back: (clock: SimClock, writer: number) => Promise<void>
  /** Writer i begins so late. */
  readonly startMs?: (writer: number) => number
  /** What the vDisk reads during each frame. */
  readonly readsPerFrame?: number
}

/** Eight writers that commit again and again: how many were in each frame, and how long it waited after the one before, ms. */
async function framesOf(load: Load): Promise<{ sizes: number[]; waitedMs: number[] }> {
  const { frameMs, back, startMs = () => 0, readsPerFrame = 0, clock = new SimClock(new SimLoop()) } = load
  const sizes: number[] = []
  const waitedMs: number[] = []
  let waiting = 0
  let endedAt = 0
  const stream = {
    append: async () => {
      sizes.push(waiting)
      waitedMs.push(clock.now() - endedAt)
      waiting = 0
      await clock.sleep(frameMs)
      endedAt = clock.now()
      return { egroup: 1, order: 1, offset: 0, endOffset: 512 * sizes.length, baseSlot: 0 }
    },
  } as unknown as StreamWriter
  const queue = new CommitQueue(
    {
      stream,
      batches: new BatchPool(),
      clock,
      syncEachFrame: true,
      apply: () => {},
      onFatal: () => {},
      reads: () => sizes.length * readsPerFrame,
    },
    { order: 1, offset: 0 },
  )
  const writer = async (number: number): Promise<void> => {
    const late = startMs(number)
    if (late > 0) await clock.sleep(late)
    while (sizes.length < FRAMES) {
      const batch = queue.batch(0, 'data')
      batch.addHole(0, 1)
      waiting++
      await queue.commit(batch, false)
      await back(clock, number)
    }
  }
  await Promise.all(Array.from({ length: WRITERS }, (_, i) => writer(i)))
  return { sizes, waitedMs }
}

/** Behind a socket: turns of the event loop take their time, and writer i is back after `backMs(i)`. */
function overSocket(
  backMs: (writer: number) => number,
  load: Partial<Load> = {},
): Promise<{ sizes: number[]; waitedMs: number[] }> {
  const clock = new SimClock(new SimLoop())
  clock.turn = () => clock.sleep(0.02)
  return framesOf({ frameMs: 3, ...load, clock, back: (_, writer) => clock.sleep(backMs(writer)) })
}

test.each([
  { who: 'writers of this process', frameMs: 0.1, back: async () => {} },
  {
    who: 'writers behind a socket',
    frameMs: 3,
    back: (clock: SimClock) => clock.turn().then(() => clock.turn()),
  },
])('$who share a frame again, although they began apart', async ({ frameMs, back }) => {
  // The second half of them begins when the first one's frame is under way.
  const startMs = (writer: number): number => (writer < WRITERS / 2 ? 0 : frameMs / 2)
  const { sizes } = await framesOf({ frameMs, back, startMs })
  expect(sizes[0]).toBe(WRITERS / 2)
  expect(sizes.slice(2, FRAMES - 2).every((size) => size === WRITERS)).toBe(true)
})

test('a writer that stays away holds the others up for a part of a frame and no longer', async () => {
  const startMs = (writer: number): number => (writer < WRITERS / 2 ? 0 : 1.5)
  const { sizes: slow } = await framesOf({ frameMs: 3, back: (clock) => clock.sleep(2), startMs })
  expect(slow.length).toBeGreaterThanOrEqual(FRAMES)
  expect(slow.slice(4).some((size) => size < WRITERS)).toBe(true)
})

test('writers behind a socket are waited for as long as they come one after the other', async () => {
  const { sizes } = await overSocket((writer) => 0.2 + writer * 0.15)
  expect(sizes.slice(2, FRAMES - 2).every((size) => size === WRITERS)).toBe(true)
})

test('writers who come one after the other for long are not all waited for', async () => {
  const { sizes, waitedMs } = await overSocket((writer) => 0.4 + writer * 0.4, { frameMs: 40 })
  // The first one comes after 0.4 ms, and is kept waiting for 2 at most; the last one comes after 3.2.
  expect(Math.max(...waitedMs.slice(2, FRAMES - 2))).toBeLessThan(2.5)
  expect(sizes.slice(2, FRAMES - 2).some((size) => size < WRITERS)).toBe(true)
})

test('where frames are very slow, writers are waited for no longer than clients take', async () => {
  // One is back at once, the others long after the frame that it is in was sent.
  const { waitedMs } = await overSocket((writer) => (writer === 0 ? 0 : 15), { frameMs: 40 })
  expect(Math.max(...waitedMs.slice(2, FRAMES - 2))).toBeLessThan(1)
})

test('where most IO is reads, a frame does not wait for all who wrote before', async () => {
  // Two are back at once, six are away for half a frame.
  const back = (writer: number): number => (writer < 2 ? 0 : 1.5)
  const longest = async (readsPerFrame: number): Promise<number> => {
    const { waitedMs } = await overSocket(back, { readsPerFrame })
    return Math.max(...waitedMs.slice(FRAMES / 2, FRAMES - 2))
  }
  expect(await longest(0)).toBeGreaterThan(0.4)
  expect(await longest(100)).toBeLessThan(0.1)
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
      reads: () => 0,
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

const LARGE = 768 * 1_024
const SLICE = 32 * 1_024

/** A queue whose frames end when they are told to. */
function byHand(tell: (what: string) => void) {
  const ends: Array<(error?: unknown) => void> = []
  const stream = {
    append: (_: unknown, __: boolean, use: string) => {
      const frame = ends.length + 1
      tell(`sent ${frame}, ${use}`)
      return new Promise((resolve, reject) => {
        const placement = { egroup: 1, order: 1, offset: 0, endOffset: 512 * frame, baseSlot: 0 }
        ends.push((error) => (error === undefined ? resolve(placement) : reject(error)))
      })
    },
  } as unknown as StreamWriter
  const queue = new CommitQueue(
    {
      stream,
      batches: new BatchPool(),
      clock: new SimClock(new SimLoop()),
      syncEachFrame: true,
      apply: (_, { endOffset }) => tell(`applied ${endOffset / 512}`),
      onFatal: () => tell('fatal'),
      reads: () => 0,
    },
    { order: 1, offset: 0 },
  )
  const slice = new Uint8Array(SLICE).fill(7)
  return {
    queue,
    ends,
    sent: (frames: number) => expect.poll(() => ends.length, { interval: 1 }).toBe(frames),
    write: (bytes: number): Promise<unknown> => {
      const batch = queue.batch(bytes, 'data')
      for (let at = 0; at < bytes; at += SLICE) batch.builder.addSlice(slice, 0, SLICE, 1, false)
      return queue.commit(batch, false)
    },
    trim: (block: number): Promise<unknown> => {
      const batch = queue.batch(0, 'records')
      batch.addHole(block, 1)
      return queue.commit(batch, false)
    },
  }
}

test('a large batch that waits is sent before the writers of the last frame hear, and frames are applied in order', async () => {
  const happened: string[] = []
  const { queue, ends, sent, write } = byHand((what) => happened.push(what))
  const named = (name: string, bytes: number): Promise<void> =>
    write(bytes).then(
      () => void happened.push(`${name} heard`),
      () => void happened.push(`${name} refused`),
    )
  const first = named('a', SLICE)
  await sent(1)
  const large = named('b', LARGE)
  ends[0]!()
  await sent(2)
  await first
  const small = named('c', SLICE)
  // A frame that fails is over before another one begins.
  const other = named('d', LARGE)
  ends[1]!(new HitherError('NO_SPACE', 'full'))
  await sent(3)
  await large
  ends[2]!()
  await Promise.all([small, other])
  expect(happened).toEqual([
    ...['sent 1, data', 'sent 2, data', 'applied 1', 'a heard'],
    ...['b refused', 'sent 3, data', 'applied 3', 'c heard', 'd heard'],
  ])
  expect(queue.applied).toEqual({ order: 1, offset: 512 * 3 })
})

test('who writes much does not go before what waits longer', async () => {
  const uses: string[] = []
  const { ends, sent, write, trim } = byHand((what) => {
    if (what.startsWith('sent')) uses.push(what.slice(what.indexOf(',') + 2))
  })
  const writes = [write(LARGE)]
  await sent(1)
  writes.push(trim(0), write(LARGE))
  ends[0]!()
  await sent(2)
  // Nor when it fills batch after batch.
  writes.push(write(LARGE), trim(1), write(LARGE), write(LARGE))
  for (let frame = 1; frame < 7; frame++) {
    await sent(frame + 1)
    ends[frame]!()
  }
  await Promise.all(writes)
  expect(uses.slice(0, 3)).toEqual(['data', 'records', 'data'])
  expect(uses.indexOf('records', 2)).toBeLessThan(uses.length - 1)
})
