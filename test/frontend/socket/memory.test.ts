/** The door's two accounts of memory: idle buffers, and bytes lent to requests. */
import { describe, expect, it } from 'vitest'
import { KiB, MiB } from '../../../src/base/units.ts'
import { BufferPool, HEADROOM_BYTES } from '../../../src/frontend/socket/buffer-pool.ts'
import { ByteBudget } from '../../../src/frontend/socket/byte-budget.ts'

describe('BufferPool', () => {
  it('has room for any length, and hands out again what it got back', () => {
    const pool = new BufferPool(64 * MiB)
    for (const length of [1, 4 * KiB, 4 * KiB + 1, 100_000, 1 * MiB, 4 * MiB]) {
      const buffer = pool.take(length)
      expect(buffer.length).toBeGreaterThanOrEqual(HEADROOM_BYTES + length)
      expect(buffer.length).toBeLessThan(HEADROOM_BYTES + Math.max(2 * length, 4 * KiB + 1))
      pool.give(buffer)
      expect(pool.take(length)).toBe(buffer)
    }
    expect(pool.idleBytes).toBe(0)
  })

  it('never keeps more idle than it may, and nothing above 4 MiB', () => {
    const pool = new BufferPool(1 * MiB)
    const buffers = Array.from({ length: 100 }, () => pool.take(64 * KiB))
    for (const buffer of buffers) pool.give(buffer)
    expect(pool.idleBytes).toBeLessThanOrEqual(1 * MiB)
    const large = new BufferPool(64 * MiB)
    large.give(large.take(32 * MiB))
    expect(large.idleBytes).toBe(0)
  })
})

describe('ByteBudget', () => {
  it('lets nobody overtake, and wakes as many as there is room for', () => {
    const budget = new ByteBudget(100)
    const served: string[] = []
    const want = (name: string, bytes: number): void => {
      const retry = (): void => {
        if (budget.tryTake(bytes)) served.push(name)
        else budget.wait(retry)
      }
      retry()
    }
    want('a', 90)
    want('b', 60)
    want('c', 5)
    want('d', 30)
    want('e', 50)
    expect(served).toEqual(['a'])
    budget.give(40)
    expect(served).toEqual(['a'])
    budget.give(50)
    expect(served).toEqual(['a', 'b', 'c', 'd'])
    budget.give(95)
    expect(served).toEqual(['a', 'b', 'c', 'd', 'e'])
    budget.give(50)
    expect(budget.free).toBe(100)
  })

  it('passes over who has left, and asks nothing of who needs nothing', () => {
    const budget = new ByteBudget(10)
    let called = 0
    const retry = (): void => {
      called += 1
    }
    expect(budget.tryTake(10)).toBe(true)
    budget.wait(retry)
    expect(budget.tryTake(0)).toBe(true)
    budget.forget(retry)
    budget.give(10)
    expect(called).toBe(0)
  })

  it('takes back no more than it lent', () => {
    expect(() => new ByteBudget(10).give(1)).toThrow('broken invariant')
  })
})
