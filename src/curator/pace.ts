/** Keeps a background job below a rate, so that guest IO has the devices and the network first. */
import type { Clock } from '../platform/types.ts'

export class Pace {
  private readonly clock: Clock
  private readonly bytesPerSecond: number
  private freeAt = 0

  /** @param bytesPerSecond `Infinity`: as fast as it goes. */
  constructor(clock: Clock, bytesPerSecond: number) {
    this.clock = clock
    this.bytesPerSecond = bytesPerSecond
  }

  /** Resolves when the next piece of work may start, `bytes` having been moved; lets others have their turn anyway. */
  spent(bytes: number): Promise<void> {
    if (this.bytesPerSecond === Number.POSITIVE_INFINITY) return this.clock.turn()
    const now = this.clock.now()
    this.freeAt = Math.max(now, this.freeAt) + (bytes / this.bytesPerSecond) * 1000
    return this.clock.sleep(this.freeAt - now)
  }
}
