/**
 * Deadlines of calls that are under way: many, nearly all of which are met, with few different times to live. Calls of one time
 * to live are due in the order in which they began, so each has a queue, and one timer for all of it. A timer for each call
 * would cost the call more than its message.
 */
import type { Clock } from '../platform/types.ts'

/** A timer may be early by the rounding of its clock. Milliseconds. */
const EARLY_MS = 0.001
/** Entries that are over are cut from the front of a queue when there are so many. */
const CUT_ENTRIES = 256

/** What is to be done when the time is up. */
export interface Deadline {
  expire(): void
}

class DeadlineQueue {
  readonly #clock: Clock
  readonly #ms: number
  /** From `#first` on; `undefined`: met. */
  #deadlines: Array<Deadline | undefined> = []
  #due: number[] = []
  #first = 0
  /** How many were cut off the front, ever: the number of a deadline stays what it was. */
  #cut = 0
  #disarm: (() => void) | undefined

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  get #isEmpty(): boolean {
    return this.#first === this.#deadlines.length
  }

  add(deadline: Deadline): number {
    this.#deadlines.push(deadline)
    this.#due.push(this.#clock.now() + this.#ms)
    if (this.#disarm === undefined) this.#arm(this.#ms)
    return this.#cut + this.#deadlines.length - 1
  }

  met(number: number): void {
    this.#deadlines[number - this.#cut] = undefined
    this.#skip()
  }

  /** To the first one that is not met. */
  #skip(): void {
    while (!this.#isEmpty && this.#deadlines[this.#first] === undefined) this.#first++
    if (this.#first < CUT_ENTRIES) return
    this.#cut += this.#first
    this.#deadlines = this.#deadlines.slice(this.#first)
    this.#due = this.#due.slice(this.#first)
    this.#first = 0
  }

  #arm(ms: number): void {
    this.#disarm = this.#clock.after(ms, () => this.#fired())
  }

  close(): void {
    this.#disarm?.()
  }

  #fired(): void {
    this.#disarm = undefined
    const now = this.#clock.now() + EARLY_MS
    this.#skip()
    while (!this.#isEmpty && this.#due[this.#first]! <= now) {
      const deadline = this.#deadlines[this.#first]
      this.#deadlines[this.#first] = undefined
      this.#skip()
      deadline?.expire()
    }
    if (!this.#isEmpty && this.#disarm === undefined) this.#arm(this.#due[this.#first]! - now)
  }
}

export class Deadlines {
  readonly #clock: Clock
  readonly #queues = new Map<number, DeadlineQueue>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Calls `expire` once after `ms`, unless the number that is returned is `met` before. */
  add(ms: number, deadline: Deadline): number {
    let queue = this.#queues.get(ms)
    if (queue === undefined) {
      queue = new DeadlineQueue(this.#clock, ms)
      this.#queues.set(ms, queue)
    }
    return queue.add(deadline)
  }

  /** Nothing expires any more. */
  close(): void {
    for (const queue of this.#queues.values()) queue.close()
  }

  /** The deadline that `add(ms, …)` gave this number, and that has not expired, counts no more. */
  met(ms: number, number: number): void {
    this.#queues.get(ms)!.met(number)
  }
}
