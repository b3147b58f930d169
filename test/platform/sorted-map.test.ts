/** SortedMap is a Map whose keys can be walked in order. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { SortedMap } from '../../src/platform/sorted-map.ts'

it('SortedMap equals a sorted Map under any sequence of sets and deletes', () => {
  // Few digits and many steps: runs split, empty and meet again.
  const step = fc.tuple(fc.constantFrom('set', 'set', 'set', 'delete'), fc.nat(2500), fc.nat(9))
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1000, maxLength: 4000, size: 'max' }),
      fc.nat(9),
      (steps, digit) => {
        const map = new SortedMap<number>()
        const model = new Map<string, number>()
        for (const [kind, number, value] of steps) {
          const key = `k${number}`
          if (kind === 'set') {
            map.set(key, value)
            model.set(key, value)
          } else {
            expect(map.delete(key)).toBe(model.delete(key))
          }
        }
        const sorted = [...model].sort(([left], [right]) => (left < right ? -1 : 1))
        const prefix = `k${digit}`
        expect([...map.entries('')]).toEqual(sorted)
        expect([...map.entries(prefix)]).toEqual(sorted.filter(([key]) => key.startsWith(prefix)))
        expect([...map.entries('l')]).toEqual([])
        expect(map.size).toBe(model.size)
      },
    ),
    { numRuns: 15 },
  )
})

it('SortedMap keeps order over tens of thousands of ascending, descending and shuffled keys', () => {
  const keyOf = (number: number): string => `egroup/${String(number).padStart(10, '0')}`
  const count = 20_000
  const orders = [
    (index: number) => index,
    (index: number) => count - 1 - index,
    (index: number) => (index * 7919) % count,
  ]
  for (const order of orders) {
    const map = new SortedMap<number>()
    for (let index = 0; index < count; index++) map.set(keyOf(order(index)), order(index))
    let expected = 0
    for (const [, value] of map.entries('egroup/'))
      if (value !== expected++) expect.fail(`${value} too early`)
    expect(expected).toBe(count)
  }
})
