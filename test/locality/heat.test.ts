import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  HeatTable,
  RANDOM_TOUCHES_HOT,
  SEQUENTIAL_TOUCHES_HOT,
  TOUCH_SAMPLE_MS,
  TOUCH_WINDOW_MS,
  TouchWindow,
} from '../../src/locality/heat.ts'

/** The classic rule, written down plainly: every sample kept in a list. */
class PlainTouches {
  readonly #lists = { random: [] as number[], sequential: [] as number[] }
  #end = -1

  touch(address: number, count: number, now: number): boolean {
    let hot = false
    for (let at = address; at < address + count; at++) {
      const kind = at === this.#end ? 'sequential' : 'random'
      this.#end = at + 1
      const sample = Math.floor(now / TOUCH_SAMPLE_MS)
      const list = this.#lists[kind]
      if (list.at(-1) !== sample) list.push(sample)
      while (list[0]! < sample - TOUCH_WINDOW_MS / TOUCH_SAMPLE_MS) list.shift()
      hot ||= list.length >= (kind === 'random' ? RANDOM_TOUCHES_HOT : SEQUENTIAL_TOUCHES_HOT)
    }
    return hot
  }
}

describe('TouchWindow', () => {
  // Promise: 13 numbers a group decide exactly as the full list of samples would.
  it('decides as the rule written down plainly', () => {
    const step = fc.record({
      gapMs: fc.oneof(fc.integer({ min: 0, max: 15_000 }), fc.integer({ min: 0, max: 400_000 })),
      address: fc.integer({ min: 0, max: 6 }),
      count: fc.integer({ min: 1, max: 3 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const window = new TouchWindow(4)
        const plain = new PlainTouches()
        let now = 0
        for (const { gapMs, address, count } of steps) {
          now += gapMs
          expect(window.touch(7, address, count, now)).toBe(plain.touch(address, count, now))
        }
      }),
      { numRuns: 200 },
    )
  })

  it('counts several touches within ten seconds once', () => {
    const window = new TouchWindow()
    expect([0, 1, 2, 3].map((i) => window.touch(1, i * 10, 1, i * 1_000))).not.toContain(true)
    expect(window.touches(1, 'random', 3_000)).toBe(1)
    expect(window.touch(1, 100, 1, 11_000)).toBe(false)
    expect(window.touch(1, 200, 1, 21_000)).toBe(true)
    expect(window.touches(1, 'random', 21_000 + TOUCH_WINDOW_MS + TOUCH_SAMPLE_MS)).toBe(0)
  })

  it('remembers no more groups than it was built for', () => {
    const window = new TouchWindow(8)
    for (let group = 0; group < 1_000; group++) window.touch(group, 0, 1, 0)
    expect(window.size).toBe(8)
    window.forget(999)
    expect(window.touches(999, 'random', 0)).toBe(0)
    expect(window.touches(998, 'random', 0)).toBe(1)
  })
})

describe('HeatTable', () => {
  it('halves the heat every half-life, and adds', () => {
    const table = new HeatTable({ halfLifeMs: 1_000 })
    table.touch(5, 0, 8)
    expect(table.heat(5, 1_000)).toBeCloseTo(4)
    table.touch(5, 2_000)
    expect(table.heat(5, 2_000)).toBeCloseTo(3)
    expect(table.lastTouch(5)).toBe(2_000)
    expect(table.heat(6, 2_000)).toBe(0)
    expect(table.lastTouch(6)).toBe(Number.NEGATIVE_INFINITY)
  })

  it('is bounded, and a group that comes back starts cold', () => {
    const table = new HeatTable({ capacity: 2 })
    for (const group of [0, 1, 2]) table.touch(group, 0, 10)
    expect(table.size).toBe(2)
    expect(table.heat(0, 0)).toBe(0)
    table.touch(0, 0)
    expect(table.heat(0, 0)).toBe(1)
    table.forget(0)
    expect(table.heat(0, 0)).toBe(0)
  })
})
