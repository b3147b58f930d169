/**
 * Waiting in line, without a timer and (uncontended) without an await: places for bounded concurrency, and mutexes.
 * Every queue is first in, first out. A place or a lock that is given back goes straight to the first waiter, so that
 * nobody who comes later can overtake.
 */
import { invariant } from './errors.ts'

type Wake = () => void

/** A FIFO of waiters: an array and a head, compacted when half of it is spent. */
class WaitLine {
  #waiting: (Wake | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#waiting.length - this.#head
  }

  join(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  /** Wakes the first; `false` when nobody waits. */
  wakeFirst(): boolean {
    if (this.#head === this.#waiting.length) return false
    const wake = this.#waiting[this.#head]!
    this.#waiting[this.#head++] = undefined
    if (this.#head === this.#waiting.length) {
      this.#waiting.length = 0
      this.#head = 0
    } else if (this.#head >= 1024 && this.#head * 2 >= this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head)
      this.#head = 0
    }
    wake()
    return true
  }
}

/** A number of places. Hot paths use `tryAcquire() || (await acquire())`. */
export class Semaphore {
  readonly places: number
  #taken = 0
  readonly #line = new WaitLine()
  readonly #drainedLine = new WaitLine()

  /** @param places at least 1. */
  constructor(places: number) {
    invariant(Number.isInteger(places) && places >= 1, `a semaphore of ${places} places`)
    this.places = places
  }

  /** Places taken now. */
  get taken(): number {
    return this.#taken
  }

  /** Callers that wait for a place now. */
  get waiting(): number {
    return this.#line.length
  }

  /** Takes a place if one is free (then nobody waits, either). */
  tryAcquire(): boolean {
    if (this.#taken === this.places) return false
    this.#taken++
    return true
  }

  /** Resolves when the caller has its place. */
  acquire(): Promise<void> {
    return this.tryAcquire() ? Promise.resolve() : this.#line.join()
  }

  release(): void {
    invariant(this.#taken > 0, 'a place is released only once')
    if (this.#line.wakeFirst()) return
    this.#taken--
    if (this.#taken === 0) while (this.#drainedLine.wakeFirst());
  }

  /** Resolves when no place is taken and nobody waits: at once, or the next time that this is so. */
  drained(): Promise<void> {
    return this.#taken === 0 ? Promise.resolve() : this.#drainedLine.join()
  }
}

/** Mutual exclusion. Hot paths use `tryLock() || (await lock())`, then `unlock()` in a `finally`. */
export class Mutex {
  #locked = false
  readonly #line = new WaitLine()

  get locked(): boolean {
    return this.#locked
  }

  tryLock(): boolean {
    if (this.#locked) return false
    this.#locked = true
    return true
  }

  /** Resolves when the caller holds the lock. */
  lock(): Promise<void> {
    return this.tryLock() ? Promise.resolve() : this.#line.join()
  }

  unlock(): void {
    invariant(this.#locked, 'a mutex is unlocked by its holder')
    if (!this.#line.wakeFirst()) this.#locked = false
  }

  /** Runs `work` under the lock, and unlocks however it ends. */
  async run<T>(work: () => T | Promise<T>): Promise<T> {
    if (!this.tryLock()) await this.#line.join()
    try {
      return await work()
    } finally {
      this.unlock()
    }
  }
}

/** One mutex per key; a key that nobody holds costs no memory. */
export class KeyedMutex<K extends number | string> {
  /** Held keys; the line exists only while somebody waits. */
  readonly #held = new Map<K, WaitLine | undefined>()

  /** Keys held now. */
  get size(): number {
    return this.#held.size
  }

  isLocked(key: K): boolean {
    return this.#held.has(key)
  }

  tryLock(key: K): boolean {
    if (this.#held.has(key)) return false
    this.#held.set(key, undefined)
    return true
  }

  /** Resolves when the caller holds the lock of `key`. */
  lock(key: K): Promise<void> {
    if (this.tryLock(key)) return Promise.resolve()
    let line = this.#held.get(key)
    if (line === undefined) {
      line = new WaitLine()
      this.#held.set(key, line)
    }
    return line.join()
  }

  unlock(key: K): void {
    invariant(this.#held.has(key), 'a keyed mutex is unlocked by its holder')
    if (this.#held.get(key)?.wakeFirst() !== true) this.#held.delete(key)
  }

  /** Runs `work` under the lock of `key`, and unlocks however it ends. */
  async run<T>(key: K, work: () => T | Promise<T>): Promise<T> {
    if (!this.tryLock(key)) await this.lock(key)
    try {
      return await work()
    } finally {
      this.unlock(key)
    }
  }
}
