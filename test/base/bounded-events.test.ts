/** Guards: a slow subscriber loses the oldest and is told how many; a publisher never waits; nothing hangs at the end. */
import { describe, expect, it } from 'vitest'
import { BoundedEvents } from '../../src/base/bounded-events.ts'

const make = (queueMax: number) => new BoundedEvents<string>(queueMax, (count) => `lost ${count}`)
const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

async function take(iterator: AsyncIterator<string>, count: number): Promise<string[]> {
  const taken: string[] = []
  while (taken.length < count) {
    const result = await iterator.next()
    if (result.done) break
    taken.push(result.value)
  }
  return taken
}

describe('BoundedEvents', () => {
  it('hands every event to every subscriber, from its subscription on', async () => {
    const events = make(10)
    events.publish('too early')
    const [a, b] = [events.subscribe(), events.subscribe()]
    events.publish('x')
    events.publish('y')
    expect(await take(a, 2)).toEqual(['x', 'y'])
    const waiting = b.next()
    expect(await waiting).toEqual({ done: false, value: 'x' })
    const later = a.next()
    await settle()
    events.publish('z')
    expect(await later).toEqual({ done: false, value: 'z' })
    expect(await take(b, 2)).toEqual(['y', 'z'])
  })

  it('drops the oldest with a count', async () => {
    const events = make(3)
    const slow = events.subscribe()
    for (let index = 0; index < 10; index++) events.publish(`${index}`)
    expect(await take(slow, 4)).toEqual(['lost 7', '7', '8', '9'])
    events.publish('10')
    expect(await take(slow, 1)).toEqual(['10'])
  })

  it('ends by leaving the loop, by the signal, and by close after the queue is read', async () => {
    const events = make(3)
    events.publish('nobody')
    const left = events.subscribe()
    events.publish('a')
    for await (const event of left) {
      expect(event).toBe('a')
      break
    }
    expect(events.subscribers).toBe(0)

    const abort = new AbortController()
    const aborted = events.subscribe(abort.signal)
    const pending = aborted.next()
    abort.abort()
    expect(await pending).toEqual({ done: true, value: undefined })
    expect((await events.subscribe(abort.signal).next()).done).toBe(true)

    const closed = events.subscribe()
    const waiting = events.subscribe()
    const end = take(waiting, 5)
    events.publish('last')
    events.close()
    events.publish('after the end')
    expect(await end).toEqual(['last'])
    expect(await take(closed, 5)).toEqual(['last'])
    expect((await events.subscribe().next()).done).toBe(true)
    expect(events.subscribers).toBe(0)
  })

  it('answers calls of next that overlap in time', async () => {
    const events = make(3)
    const subscription = events.subscribe()
    const calls = [subscription.next(), subscription.next(), subscription.next()]
    await settle()
    events.publish('a')
    events.publish('b')
    events.close()
    const results = await Promise.all(calls)
    expect(results.map((result) => result.value)).toEqual(['a', 'b', undefined])
  })
})
