/** Ctrl-C ends a simulation within a seed: a day of virtual time takes minutes, and nobody waits for it. */
import { expect, test } from 'vitest'
import { seededRandom } from '../../src/platform/real/random.ts'
import { runPlan } from '../../src/sim/run.ts'
import { drawPlan } from '../../src/sim/schedule/plan.ts'

test('a run ends where it is when it is told to', { timeout: 60_000 }, async () => {
  const plan = drawPlan(3, seededRandom(3), { durationMs: 86_400_000, thinkMs: 2_000 })
  const stop = new AbortController()
  setTimeout(() => stop.abort(), 300)
  const result = await runPlan(plan, undefined, stop.signal)
  expect(result.interrupted).toBe(true)
  expect(result.violations).toEqual([])
  expect(result.virtualMs).toBeLessThan(86_400_000)
})
