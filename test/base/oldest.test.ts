/** A bounded map forgets what was put in first, one at a time. */
import { expect, it } from 'vitest'
import { forgetOldest } from '../../src/base/oldest.ts'

it('the first entry goes, and only from a map that has too many', () => {
  const map = new Map([
    ['a', 1],
    ['b', 2],
  ])
  expect(forgetOldest(map, 2)).toBeUndefined()
  map.set('a', 3)
  map.set('c', 4)
  expect(forgetOldest(map, 2)).toBe(3)
  expect([...map.keys()]).toEqual(['b', 'c'])
})
