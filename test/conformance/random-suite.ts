/** What every `Random` promises: `runRandomTests('name', make)`. */
import { describe, expect, it } from 'vitest'
import type { Random } from '../../src/platform/types.ts'

export function runRandomTests(name: string, make: () => Random): void {
  describe(`Random: ${name}`, () => {
    it('gives whole numbers of 32 bits, every bit set about half of the time', () => {
      const random = make()
      const draws = 20_000
      const set = new Array<number>(32).fill(0)
      for (let draw = 0; draw < draws; draw++) {
        const value = random.u32()
        if (value !== value >>> 0) expect.fail(`${value} is not a whole number of 32 bits`)
        for (let bit = 0; bit < 32; bit++) set[bit]! += (value >>> bit) & 1
      }
      // Nine standard deviations: false alarm once in 10^18.
      for (const count of set) expect(Math.abs(count - draws / 2)).toBeLessThan(9 * Math.sqrt(draws / 4))
    })

    it.each([1, 2, 3, 7, 1000])('draws evenly below %i', (bound) => {
      const random = make()
      const draws = 20_000
      const counts = new Array<number>(bound).fill(0)
      for (let draw = 0; draw < draws; draw++) counts[random.below(bound)]! += 1
      const mean = draws / bound
      for (const count of counts) expect(Math.abs(count - mean)).toBeLessThan(9 * Math.sqrt(mean) + 1)
    })

    it.each([
      2 ** 31,
      2 ** 32 - 1,
      2 ** 32,
      2 ** 40,
      2 ** 53,
    ])('stays below %i, and reaches its upper half', (bound) => {
      const random = make()
      let upper = 0
      for (let draw = 0; draw < 200; draw++) {
        const value = random.below(bound)
        expect(Number.isSafeInteger(value) && value >= 0 && value < bound).toBe(true)
        if (value >= bound / 2) upper += 1
      }
      expect(upper).toBeGreaterThan(20)
      expect(upper).toBeLessThan(180)
    })
  })
}
