/**
 * A broadcast of events to any number of async iterators, each behind a queue of bounded length. A publisher never
 * waits and never fails: a subscriber that reads too slowly loses its oldest events, and is told how many.
 */
import { invariant } from './errors.ts'

interface Subscriber<T> {
  queue: T[]
  lost: number
  /** Those who wait for the next event: one, unless `next` is called again before it has answered. */
  waiting: (() => void)[]
}

export class BoundedEvents<T> {
  readonly #queueMax: number
  readonly #lostEvent: (count: number) => T
  readonly #subscribers = new Set<Subscriber<T>>()
  #closed = false

  /**
   * @param queueMax events kept for one subscriber, at least 1.
   * @param lostEvent makes the event that tells a subscriber how many it lost, just before the oldest one kept.
   */
  constructor(queueMax: number, lostEvent: (count: number) => T) {
    invariant(Number.isInteger(queueMax) && queueMax >= 1, `an event queue of ${queueMax}`)
    this.#queueMax = queueMax
    this.#lostEvent = lostEvent
  }

  get subscribers(): number {
    return this.#subscribers.size
  }

  /** Hands `event` to all who are subscribed now; to nobody after `close`. */
  publish(event: T): void {
    if (this.#closed) return
    for (const subscriber of this.#subscribers) {
      if (subscriber.queue.length === this.#queueMax) {
        subscriber.queue.shift()
        subscriber.lost++
      }
      subscriber.queue.push(event)
      wakeAll(subscriber)
    }
  }

  /** Ends every subscription once its queue is read; later events go nowhere. */
  close(): void {
    this.#closed = true
    for (const subscriber of this.#subscribers) wakeAll(subscriber)
  }

  /**
   * Events from this call on, whenever iteration begins. Ends when the iterator is left, when `signal` fires (what is
   * queued then is not delivered), or after `close`. Can be iterated once.
   */
  subscribe(signal?: AbortSignal): AsyncIterableIterator<T> {
    const subscriber: Subscriber<T> = { queue: [], lost: 0, waiting: [] }
    const over = () => signal?.aborted === true || !this.#subscribers.has(subscriber)
    const leave = () => {
      this.#subscribers.delete(subscriber)
      signal?.removeEventListener('abort', leave)
      wakeAll(subscriber)
    }
    if (!this.#closed && signal?.aborted !== true) {
      this.#subscribers.add(subscriber)
      signal?.addEventListener('abort', leave)
    }
    const next = async (): Promise<IteratorResult<T>> => {
      while (!over()) {
        if (subscriber.lost > 0) {
          const event = this.#lostEvent(subscriber.lost)
          subscriber.lost = 0
          return { done: false, value: event }
        }
        if (subscriber.queue.length > 0) return { done: false, value: subscriber.queue.shift()! }
        if (this.#closed) break
        await new Promise<void>((resolve) => {
          subscriber.waiting.push(resolve)
        })
      }
      leave()
      return { done: true, value: undefined }
    }
    const iterator: AsyncIterableIterator<T> = {
      next,
      return: async () => {
        leave()
        return { done: true, value: undefined }
      },
      [Symbol.asyncIterator]: () => iterator,
    }
    return iterator
  }
}

function wakeAll<T>(subscriber: Subscriber<T>): void {
  if (subscriber.waiting.length === 0) return
  const waiting = subscriber.waiting
  subscriber.waiting = []
  for (const wake of waiting) wake()
}
