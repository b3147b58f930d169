/** The arithmetic that is the same everywhere agrees with that of the implementation. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { exp2, ln, log2 } from '../../src/base/exact-math.ts'

const near = (actual: number, expected: number): void => {
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(4e-15 * Math.max(Math.abs(expected), 1e-300))
}

test('exp2 is a power of 2', () => {
  fc.assert(fc.property(fc.double({ min: -300, max: 300, noNaN: true }), (x) => near(exp2(x), 2 ** x)))
  for (let whole = -60; whole <= 60; whole++) expect(exp2(whole)).toBe(2 ** whole)
  expect(exp2(-1e9)).toBe(0)
})

test('log2 and ln are its inverses', () => {
  const positive = fc.double({ min: 1e-200, max: 1e200, noNaN: true })
  fc.assert(
    fc.property(positive, (x) => {
      // Near 1 the logarithm is near 0: what counts there is the absolute error.
      expect(Math.abs(log2(x) - Math.log2(x))).toBeLessThanOrEqual(
        4e-15 * Math.max(1, Math.abs(Math.log2(x))),
      )
      expect(Math.abs(ln(x) - Math.log(x))).toBeLessThanOrEqual(4e-15 * Math.max(1, Math.abs(Math.log(x))))
    }),
  )
  for (let whole = -60; whole <= 60; whole++) expect(log2(2 ** whole)).toBe(whole)
})

test('known bits', () => {
  // As computed on Node 20 and on Node 26: a change here changes every simulated run.
  expect([exp2(0.3), exp2(-1.7), log2(3), ln(10)].map((value) => value.toString())).toMatchInlineSnapshot(`
    [
      "1.2311444133449163",
      "0.3077861033362291",
      "1.584962500721156",
      "2.3025850929940455",
    ]
  `)
})
