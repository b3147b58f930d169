/** The cache that a CVM gets when nobody says how large. Guards: a share of the memory, within its bounds, of any machine. */
import { totalmem } from 'node:os'
import { expect, test } from 'vitest'
import { GiB, MiB } from '../../src/base/units.ts'
import { cacheBytesHere, cacheBytesOf, resolveSettings } from '../../src/embedded/settings.ts'

test('a 64th of the memory, from 64 MiB to 1 GiB', () => {
  expect(cacheBytesOf(512 * MiB)).toBe(64 * MiB)
  expect(cacheBytesOf(24 * GiB)).toBe(384 * MiB)
  expect(cacheBytesOf(1024 * GiB)).toBe(1 * GiB)
})

test('this machine gives no more than its share', () => {
  expect(cacheBytesHere()).toBeLessThanOrEqual(cacheBytesOf(totalmem()))
  expect(cacheBytesHere()).toBeGreaterThanOrEqual(64 * MiB)
})

test('a simulated cluster has the same everywhere', () => {
  expect(resolveSettings({}).cacheBytes).toBe(64 * MiB)
})
