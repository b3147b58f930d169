/**
 * The simulator finds nothing: a fixed set of seeds, which covers the rare paths, and fresh ones, for some time. A failure
 * prints its seed; `npm run sim -- --seed S` runs it again, shortened.
 */
import { expect, test } from 'vitest'
import { seededRandom } from '../../src/platform/real/random.ts'
import { missedMarks } from '../../src/sim/check-marks.ts'
import { runPlan } from '../../src/sim/run.ts'
import { drawPlan, type PlanOptions } from '../../src/sim/schedule/plan.ts'
import { Tally } from '../../src/sim/tally.ts'

const FIXED_FIRST = 1
const FIXED_COUNT = 40
/** Of these, with nothing but damage: it is rare in the others. */
const MEDIA_COUNT = 4
/** 0 leaves them out, where a run has to be repeatable. */
const FRESH_SECONDS = Number(process.env.HITHER_SIM_SECONDS ?? 60)

async function violationsOf(seed: number, total: Tally, options: PlanOptions = {}): Promise<string[]> {
  const result = await runPlan(drawPlan(seed, seededRandom(seed), options))
  total.add(result.tally)
  return result.violations.map((violation) => `seed ${seed}: ${violation}`)
}

test('a fixed set of seeds holds every invariant, and reaches every rare path', async () => {
  const total = new Tally()
  for (let seed = FIXED_FIRST; seed < FIXED_FIRST + FIXED_COUNT; seed++) {
    expect(await violationsOf(seed, total)).toEqual([])
  }
  for (let seed = FIXED_FIRST; seed < FIXED_FIRST + MEDIA_COUNT; seed++) {
    expect(await violationsOf(seed, total, { theme: 'media' })).toEqual([])
  }
  expect(missedMarks(total.marks)).toEqual([])
  expect(total.operations).toBeGreaterThan(20_000)
}, 300_000)

test.skipIf(FRESH_SECONDS === 0)(
  'fresh seeds hold every invariant',
  async () => {
    const first = Date.now() % 1_000_000_000
    const until = performance.now() + FRESH_SECONDS * 1000
    const total = new Tally()
    let seed = first
    for (; performance.now() < until; seed++) expect(await violationsOf(seed, total)).toEqual([])
    console.log(`simulated ${seed - first} fresh seeds from ${first}, ${total.operations} operations`)
  },
  600_000,
)

test('a run is a function of its plan', async () => {
  for (const seed of [3, 11]) {
    const plan = drawPlan(seed, seededRandom(seed))
    const [first, second] = [await runPlan(plan), await runPlan(plan)]
    expect(second.hash).toBe(first.hash)
    expect(second.tally.ops).toEqual(first.tally.ops)
  }
  const other = await runPlan(drawPlan(4, seededRandom(4)))
  expect(other.hash).not.toBe((await runPlan(drawPlan(3, seededRandom(3)))).hash)
}, 120_000)
