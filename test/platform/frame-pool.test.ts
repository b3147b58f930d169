/** Memory of frames goes round, and never to two at a time. */
import { expect, test } from 'vitest'
import { KiB, MiB } from '../../src/base/units.ts'
import { FramePool } from '../../src/platform/frame-pool.ts'

test('a frame that is given back lends its memory to the next of its size', () => {
  const pool = new FramePool()
  const first = pool.take(100 * KiB)
  expect(first).toHaveLength(100 * KiB)
  const second = pool.take(100 * KiB)
  expect(second.buffer).not.toBe(first.buffer)
  pool.giveBack(first)
  const third = pool.take(128 * KiB)
  expect(third).toHaveLength(128 * KiB)
  expect(third.buffer).toBe(first.buffer)
})

test('memory that is given back twice, or is not from here, is not lent', () => {
  const pool = new FramePool()
  const frame = pool.take(64 * KiB)
  pool.giveBack(frame.subarray(512))
  pool.giveBack(frame)
  pool.giveBack(new Uint8Array(64 * KiB))
  expect(pool.take(64 * KiB).buffer).toBe(frame.buffer)
  expect(pool.take(64 * KiB).buffer).not.toBe(frame.buffer)
})

test('keeps no more than its bound', () => {
  const pool = new FramePool()
  const frames = Array.from({ length: 12 }, () => pool.take(2 * MiB))
  for (const frame of frames) pool.giveBack(frame)
  const buffers = new Set(frames.map(({ buffer }) => buffer))
  const again = Array.from({ length: 12 }, () => pool.take(2 * MiB))
  expect(again.filter(({ buffer }) => buffers.has(buffer))).toHaveLength(8)
})

test.each([0, 1, 8 * KiB - 1, 8 * KiB, 2 * MiB, 2 * MiB + 1])('a frame of %i bytes', (length) => {
  const pool = new FramePool()
  const frame = pool.take(length)
  expect(frame).toHaveLength(length)
  pool.giveBack(frame)
  expect(pool.take(length)).toHaveLength(length)
})
