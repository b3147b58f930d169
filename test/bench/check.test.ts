/** `npm run bench -- --check` is a gate: what it lets through and what it does not. And what `--write-bounds` keeps. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { boundFor, type CheckResult, confirmed, reaches, regressions } from '../../bench/compare/check.ts'

const more: CheckResult = { id: '1-rate', what: 'w', against: 'a', better: 'more', goal: 2, ratio: 1 }
const less: CheckResult = { id: '5-p99', what: 'w', against: 'a', better: 'less', goal: 0.5, ratio: 1 }

describe('bounds', () => {
  test('a ratio on its bound holds; beyond it, on the bad side, it is a regression', () => {
    expect(regressions([more, less], { '1-rate': 1, '5-p99': 1 })).toEqual([])
    expect(regressions([more, less], { '1-rate': 1.01, '5-p99': 1 })).toEqual([more])
    expect(regressions([more, less], { '1-rate': 1, '5-p99': 0.99 })).toEqual([less])
  })

  test('what was worse once is measured again, and counts when it is worse then, too', () => {
    const bounds = { '1-rate': 1.5, '5-p99': 0.5 }
    const worse = regressions([more, less], bounds)
    expect(confirmed(worse, [{ ...more, ratio: 1.6 }, less], bounds)).toEqual([less])
    expect(confirmed(worse, [{ ...more, ratio: 1.4 }], bounds)).toEqual([{ ...more, ratio: 1.4 }, less])
    expect(confirmed([less], [{ ...more, ratio: 0.1 }], bounds)).toEqual([less])
  })

  test('the goal does not count, and a check without a bound holds', () => {
    expect(reaches(more.ratio, more.goal!, more.better)).toBe(false)
    expect(regressions([more, less], {})).toEqual([])
  })

  test('a ratio that could not be told is a regression', () => {
    expect(regressions([{ ...more, ratio: Number.NaN }], { '1-rate': 0.1 })).toHaveLength(1)
  })

  test('a kept bound leaves room on the side where it is needed', () => {
    for (const result of [more, less]) {
      const bound = boundFor(result)
      expect(regressions([result], { [result.id]: bound })).toEqual([])
      expect(result.better === 'more' ? bound : -bound).toBeLessThan(
        result.better === 'more' ? result.ratio : -result.ratio,
      )
    }
  })

  test('every stored bound is a positive number, in the order of its goal', () => {
    const text = readFileSync(new URL('../../bench/bounds.json', import.meta.url), 'utf8')
    const bounds = Object.entries(JSON.parse(text) as Record<string, unknown>)
    expect(bounds.filter(([, bound]) => typeof bound !== 'number' || !(bound > 0))).toEqual([])
    const goals = bounds.map(([id]) => Number.parseInt(id, 10))
    expect(goals).toEqual([...goals].sort((a, b) => a - b))
  })
})
