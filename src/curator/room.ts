/**
 * Room for writes that found none: a reclaim, for all that ask while it runs. Bounded in two ways, so that a cluster that
 * really is full says so at once and is not kept busy: a client waits so long and no longer, and a reclaim that got nothing
 * back is not tried again for a while.
 */
import type { Clock } from '../platform/types.ts'

/** Longest time that a write without room waits for a reclaim. Milliseconds. */
const PATIENCE_MS = 30_000
/** A reclaim that got nothing back is tried again after so long, and after so many times what it took. */
const AGAIN_MS = 250
const AGAIN_TIMES = 4

export class Room {
  private readonly clock: Clock
  private readonly reclaim: () => Promise<number>
  private making: Promise<boolean> | undefined
  private noneUntil = 0

  /** @param reclaim gets back what there is, and tells how many bytes that was; may reject */
  constructor(clock: Clock, reclaim: () => Promise<number>) {
    this.clock = clock
    this.reclaim = reclaim
  }

  /**
   * `true` when space was got back; `false` when there is none to get, when the last try is too fresh, or when it takes too
   * long for a client to wait.
   */
  make(): Promise<boolean> {
    if (this.making === undefined) {
      if (this.clock.now() < this.noneUntil) return Promise.resolve(false)
      this.making = this.attempt().finally(() => {
        this.making = undefined
      })
    }
    const made = this.making
    return new Promise((resolve) => {
      const cancel = this.clock.after(PATIENCE_MS, () => resolve(false))
      void made.then((gotSome) => {
        cancel()
        resolve(gotSome)
      })
    })
  }

  private async attempt(): Promise<boolean> {
    const startedAt = this.clock.now()
    const freed = await this.reclaim().catch(() => 0)
    const now = this.clock.now()
    if (freed === 0) this.noneUntil = now + Math.max(AGAIN_MS, AGAIN_TIMES * (now - startedAt))
    return freed > 0
  }
}
