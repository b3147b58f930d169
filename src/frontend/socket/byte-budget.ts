/**
 * The memory that the requests of all connections of one door may hold together. A request takes its payload's bytes
 * before they are received or read, and gives them back when the reply has left. A connection that finds too
 * little left stops reading its socket and is called when there is room again: first come, first served, so that a
 * small request cannot overtake a large one for ever.
 */
import { invariant } from '../../base/errors.ts'

export class ByteBudget {
  readonly #total: number
  #free: number
  readonly #waiting: Set<() => void> = new Set()

  constructor(total: number) {
    this.#total = total
    this.#free = total
  }

  /** Bytes not taken now. */
  get free(): number {
    return this.#free
  }

  /** Takes `bytes`, unless that is more than is left or others wait already. */
  tryTake(bytes: number): boolean {
    if (bytes > this.#free || (this.#waiting.size > 0 && bytes > 0)) return false
    this.#free -= bytes
    return true
  }

  /** Calls `retry` once, when its turn has come. It tries again then, and may come back to wait. */
  wait(retry: () => void): void {
    this.#waiting.add(retry)
  }

  /** Withdraws from the queue. */
  forget(retry: () => void): void {
    this.#waiting.delete(retry)
  }

  give(bytes: number): void {
    if (bytes === 0) return
    this.#free += bytes
    invariant(this.#free <= this.#total, 'a door got back more bytes than it lent')
    if (this.#waiting.size > 0) this.#wake()
  }

  #wake(): void {
    const queue = [...this.#waiting]
    this.#waiting.clear()
    for (let i = 0; i < queue.length; i += 1) {
      queue[i]!()
      if (this.#waiting.size === 0) continue
      // This one still found too little: it stays first, the others behind it.
      for (let j = i + 1; j < queue.length; j += 1) this.#waiting.add(queue[j]!)
      return
    }
  }
}
