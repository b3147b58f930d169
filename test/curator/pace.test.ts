/** A job keeps to its rate, but not while a write waits for the space that the job's end would let it have. */
import { expect, test } from 'vitest'
import { Pace } from '../../src/curator/pace.ts'
import { GuestActivity } from '../../src/platform/bulk-work.ts'
import type { Clock } from '../../src/platform/types.ts'

function paced(bytesPerSecond: number) {
  const slept: number[] = []
  const guests = new GuestActivity()
  const clock = {
    now: () => 1_000,
    sleep: async (ms: number) => void slept.push(ms),
    turn: async () => void slept.push(0),
  } as Partial<Clock> as Clock
  return { pace: new Pace(clock, guests, bytesPerSecond), guests, slept }
}

test('it sleeps as long as its bytes take at the rate', async () => {
  const { pace, slept } = paced(1_000)
  await pace.spent(50)
  await pace.spent(50)
  expect(slept).toEqual([50, 100])
})

test('without a rate, and while a write waits for space, it only lets others have their turn', async () => {
  const unbounded = paced(Number.POSITIVE_INFINITY)
  await unbounded.pace.spent(1e9)
  expect(unbounded.slept).toEqual([0])
  const { pace, guests, slept } = paced(1_000)
  guests.waitingForSpace++
  await pace.spent(1e9)
  guests.waitingForSpace--
  await pace.spent(50)
  expect(slept).toEqual([0, 50])
})
