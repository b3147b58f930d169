/**
 * Keeps a background job below a rate, so that guest IO has the devices and the network first; not while a write waits for
 * space: a job that holds the turn of the reclaim which the write waits for is the last thing that should take its time.
 */
import type { GuestActivity } from '../platform/bulk-work.ts'
import type { Clock } from '../platform/types.ts'

export class Pace {
  private readonly clock: Clock
  private readonly guests: GuestActivity
  private readonly bytesPerSecond: number
  private freeAt = 0

  /** @param bytesPerSecond `Infinity`: as fast as it goes. */
  constructor(clock: Clock, guests: GuestActivity, bytesPerSecond: number) {
    this.clock = clock
    this.guests = guests
    this.bytesPerSecond = bytesPerSecond
  }

  /** Resolves when the next piece of work may start, `bytes` having been moved; lets others have their turn anyway. */
  spent(bytes: number): Promise<void> {
    if (this.bytesPerSecond === Number.POSITIVE_INFINITY || this.guests.waitingForSpace > 0) {
      return this.clock.turn()
    }
    const now = this.clock.now()
    this.freeAt = Math.max(now, this.freeAt) + (bytes / this.bytesPerSecond) * 1000
    return this.clock.sleep(this.freeAt - now)
  }
}
