/** Guards: never more holders than places, first come first served, no wake-up lost or doubled. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { codeOf } from '../../src/base/errors.ts'
import { KeyedMutex, Mutex, Semaphore } from '../../src/base/queue.ts'

/** Lets every promise that can settle do so. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('Semaphore', () => {
  it('keeps its bound and its order, whatever comes and goes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.boolean(), { maxLength: 60 }),
        async (places, steps) => {
          const semaphore = new Semaphore(places)
          const served: number[] = []
          let asked = 0
          let released = 0
          for (const ask of steps) {
            if (ask) {
              const me = asked++
              void semaphore.acquire().then(() => served.push(me))
            } else if (released < served.length) {
              semaphore.release()
              released++
            }
            await Promise.resolve()
            await Promise.resolve()
            expect(served.length - released).toBe(Math.min(places, asked - released))
            expect(semaphore.taken).toBe(served.length - released)
            expect(semaphore.waiting).toBe(asked - served.length)
          }
          expect(served).toEqual([...served].sort((a, b) => a - b))
        },
      ),
      { numRuns: 50 },
    )
  })

  it('lets nobody overtake a waiter by trying', async () => {
    const semaphore = new Semaphore(1)
    expect(semaphore.tryAcquire()).toBe(true)
    let served = false
    void semaphore.acquire().then(() => {
      served = true
    })
    semaphore.release()
    expect(semaphore.tryAcquire()).toBe(false)
    await settle()
    expect(served).toBe(true)
  })

  it('tells when it is drained, and only then', async () => {
    const semaphore = new Semaphore(2)
    await semaphore.drained()
    semaphore.tryAcquire()
    semaphore.tryAcquire()
    let drained = 0
    void semaphore.drained().then(() => drained++)
    void semaphore.drained().then(() => drained++)
    void semaphore.acquire()
    semaphore.release()
    semaphore.release()
    await settle()
    expect(drained).toBe(0)
    semaphore.release()
    await settle()
    expect(drained).toBe(2)
  })

  it('serves thousands of waiters', async () => {
    const semaphore = new Semaphore(3)
    let running = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 5000 }, async () => {
        await semaphore.acquire()
        most = Math.max(most, ++running)
        await Promise.resolve()
        running--
        semaphore.release()
      }),
    )
    expect(most).toBe(3)
    expect(semaphore.taken).toBe(0)
  })

  it('treats one release too many as a bug', () => {
    expect(() => new Semaphore(1).release()).toThrow('released only once')
    expect(() => new Semaphore(0)).toThrow('0 places')
  })
})

describe('Mutex and KeyedMutex', () => {
  it('run work one after the other, in order, also when some of it fails', async () => {
    const mutex = new Mutex()
    const log: string[] = []
    const work = (name: string, fail: boolean) => async () => {
      log.push(`${name} begins`)
      await settle()
      log.push(`${name} ends`)
      if (fail) throw new Error(name)
    }
    const results = await Promise.allSettled([
      mutex.run(work('a', false)),
      mutex.run(work('b', true)),
      mutex.run(work('c', false)),
    ])
    expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(mutex.locked).toBe(false)
  })

  it('exclude per key only, and forget keys that are free', async () => {
    const mutex = new KeyedMutex<number>()
    expect(mutex.tryLock(1)).toBe(true)
    expect(mutex.tryLock(1)).toBe(false)
    expect(mutex.tryLock(2)).toBe(true)
    const served: string[] = []
    void mutex.lock(1).then(() => served.push('first'))
    void mutex.lock(1).then(() => served.push('second'))
    mutex.unlock(2)
    await settle()
    expect(served).toEqual([])
    mutex.unlock(1)
    expect(mutex.tryLock(1)).toBe(false)
    await settle()
    expect(served).toEqual(['first'])
    mutex.unlock(1)
    await settle()
    expect(served).toEqual(['first', 'second'])
    mutex.unlock(1)
    expect(mutex.size).toBe(0)
    expect(await mutex.run(1, () => 42)).toBe(42)
    expect(mutex.isLocked(1)).toBe(false)
  })

  it('treat an unlock without a lock as a bug', () => {
    for (const work of [() => new Mutex().unlock(), () => new KeyedMutex<string>().unlock('x')]) {
      try {
        work()
        expect.unreachable()
      } catch (error) {
        expect(codeOf(error)).toBe('INTERNAL')
      }
    }
  })
})
