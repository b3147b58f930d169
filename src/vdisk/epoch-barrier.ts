/**
 * Waits for what is under way at one moment, without holding up what comes later. Every entry belongs to one of two
 * epochs; `passed` starts the other one and waits until the old one is empty. Two counters: an entry costs no memory.
 */
import { invariant } from '../base/errors.ts'
import { Mutex } from '../base/queue.ts'

export class EpochBarrier {
  readonly #counts: [number, number] = [0, 0]
  readonly #turn = new Mutex()
  #epoch: 0 | 1 = 0
  #onEmpty: (() => void) | undefined

  /** Returns what `leave` has to be given. */
  enter(): 0 | 1 {
    this.#counts[this.#epoch]++
    return this.#epoch
  }

  leave(epoch: 0 | 1): void {
    invariant(this.#counts[epoch] > 0, 'who leaves has entered')
    this.#counts[epoch]--
    if (epoch === this.#epoch || this.#counts[epoch] > 0) return
    this.#onEmpty?.()
    this.#onEmpty = undefined
  }

  /** Resolves when all that had entered before this call have left. */
  passed(): Promise<void> {
    return this.#turn.run(async () => {
      const old = this.#epoch
      // Empty: the turn before has waited for it.
      this.#epoch = old === 0 ? 1 : 0
      if (this.#counts[old] === 0) return
      await new Promise<void>((resolve) => {
        this.#onEmpty = resolve
      })
    })
  }
}
