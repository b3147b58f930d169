/**
 * Deadlines of calls. Guards: each that is not met expires once, not before its time and soon after it, whatever others of
 * its queue do; and what was met is forgotten, with few timers for many calls.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimClock } from '../../src/platform/sim/sim-clock.ts'
import type { Clock } from '../../src/platform/types.ts'
import { Deadlines } from '../../src/replication/deadlines.ts'

test('whatever is met, and when, the others expire at their time', async () => {
  const call = fc.record({
    at: fc.nat({ max: 50 }),
    ms: fc.constantFrom(5, 20, 100),
    metAfter: fc.option(fc.nat({ max: 120 }), { nil: undefined }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(call, { maxLength: 60 }), async (calls) => {
      const loop = new SimLoop()
      const clock = new SimClock(loop)
      const deadlines = new Deadlines(clock)
      const expired = new Map<number, number>()
      for (const [i, { at, ms, metAfter }] of calls.entries()) {
        loop.after(at, () => {
          const number = deadlines.add(ms, {
            expire: () => {
              expect(expired.has(i)).toBe(false)
              expired.set(i, clock.now())
            },
          })
          if (metAfter !== undefined && metAfter < ms) loop.after(metAfter, () => deadlines.met(ms, number))
        })
      }
      await loop.sleep(1_000)
      for (const [i, { at, ms, metAfter }] of calls.entries()) {
        if (metAfter !== undefined && metAfter < ms) expect(expired.has(i)).toBe(false)
        else expect(Math.abs(expired.get(i)! - (at + ms))).toBeLessThan(0.01)
      }
      loop.stop()
    }),
    { numRuns: 200 },
  )
})

test('thousands of calls that are answered cost a few timers, and close ends what is left', () => {
  const fires: Array<() => void> = []
  let cancelled = 0
  let now = 0
  const clock = {
    now: () => now,
    after: (_ms: number, fire: () => void) => {
      fires.push(fire)
      return () => cancelled++
    },
  } as unknown as Clock
  const deadlines = new Deadlines(clock)
  const never = { expire: () => expect.unreachable('it was met') }
  const first = deadlines.add(100, never)
  for (let i = 0; i < 5_000; i++) {
    now += 0.01
    deadlines.met(100, deadlines.add(100, never))
  }
  deadlines.met(100, first)
  expect(fires).toHaveLength(1)
  now = 200
  fires[0]!()
  expect(fires).toHaveLength(1)
  deadlines.add(100, never)
  expect(fires).toHaveLength(2)
  deadlines.close()
  expect(cancelled).toBe(1)
})
