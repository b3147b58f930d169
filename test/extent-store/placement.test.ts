/** Where a log range lies on its device. Guard: one look (`startOf`) and the walk over pieces (`forRange`) agree. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Placement, UNIT_BYTES } from '../../src/extent-store/placement.ts'

test('a range in one piece starts where the walk finds its only piece; any other has no start', () => {
  const extents = fc.array(fc.record({ start: fc.nat(1000), count: fc.integer({ min: 1, max: 3 }) }), {
    minLength: 1,
    maxLength: 4,
  })
  fc.assert(
    fc.property(extents, fc.nat(), fc.integer({ min: 1, max: 4 * UNIT_BYTES }), (all, from, most) => {
      const placement = new Placement(all)
      const offset = from % placement.bytes
      const length = Math.min(most, placement.bytes - offset)
      const pieces: number[] = []
      placement.forRange(offset, length, (at) => pieces.push(at))
      expect(placement.startOf(offset, length)).toBe(pieces.length === 1 ? pieces[0] : -1)
    }),
  )
})

test('what is not in the log has no start', () => {
  const placement = new Placement([{ start: 5, count: 2 }])
  expect(placement.startOf(placement.bytes, 1)).toBe(-1)
  expect(placement.startOf(placement.bytes - 1, 2)).toBe(-1)
  expect(placement.startOf(-1, 1)).toBe(-1)
})
