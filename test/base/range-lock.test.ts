/**
 * Guards: holders never overlap; a request is served exactly when nothing that came before it and overlaps it is left
 * (so no starvation, and no waiting for strangers). Compared with a model after every step.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type LockedRange, RangeLock } from '../../src/base/range-lock.ts'

interface Request {
  readonly start: number
  readonly end: number
  held: boolean
  range?: LockedRange
}

const overlaps = (a: Request, b: Request) => a.start < b.end && b.start < a.end

const step = fc.oneof(
  fc.record({
    kind: fc.constantFrom('lock' as const, 'tryLock' as const),
    // Two neighbourhoods that share their places, and a few wide ones.
    start: fc.oneof(
      fc.nat(20),
      fc.nat(20).map((at) => 1024 * 3 + at),
    ),
    length: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.constantFrom(60, 5_000)),
  }),
  fc.record({ kind: fc.constant('unlock' as const), which: fc.nat() }),
)

describe('RangeLock', () => {
  it('agrees with its model at every step', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 50 }), fc.constantFrom(1, 3), async (steps, unit) => {
        const lock = new RangeLock(unit)
        /** Not yet given back, in order of arrival. */
        const alive: Request[] = []
        const mayHold = (request: Request) =>
          !alive.slice(0, alive.indexOf(request)).some((earlier) => overlaps(earlier, request))
        for (const action of steps) {
          if (action.kind === 'unlock') {
            const holders = alive.filter((request) => request.held)
            const request = holders[action.which % holders.length]
            if (request === undefined) continue
            alive.splice(alive.indexOf(request), 1)
            lock.unlock(request.range!)
          } else {
            const request: Request = { start: action.start, end: action.start + action.length, held: false }
            const free = !alive.some((other) => overlaps(other, request))
            if (action.kind === 'tryLock') {
              const range = lock.tryLock(request.start, request.end)
              expect(range !== undefined).toBe(free)
              if (range === undefined) continue
              Object.assign(request, { held: true, range })
            } else {
              void lock.lock(request.start, request.end).then((range) => {
                Object.assign(request, { held: true, range })
              })
            }
            alive.push(request)
          }
          await Promise.resolve()
          await Promise.resolve()
          for (const request of alive) expect(request.held).toBe(mayHold(request))
          expect(lock.held).toBe(alive.filter((request) => request.held).length)
          expect(lock.held + lock.waiting).toBe(alive.length)
        }
      }),
      { numRuns: 200 },
    )
  })

  it('treats empty ranges, foreign unlocks, and unlocking twice as bugs', () => {
    const lock = new RangeLock()
    expect(() => lock.tryLock(5, 5)).toThrow('not empty')
    const first = lock.tryLock(0, 4)!
    void lock.lock(2, 6)
    expect(() => lock.unlock(new RangeLock().tryLock(0, 4)!)).toThrow('by its holder')
    lock.unlock(first)
    expect(() => lock.unlock(first)).toThrow('by its holder')
    expect([lock.held, lock.waiting]).toEqual([1, 0])
  })
})
