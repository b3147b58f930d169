/** Time stamps of files: of now, to the microsecond, and each later than every one before. */
import type { FileTime } from '../api.ts'
import type { Clock } from '../platform/types.ts'

const MICROSECONDS = 1_000_000

export class TimeStamps {
  readonly #clock: Clock
  /** Microseconds since 1970 of the last time stamp. */
  #last = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  now(): FileTime {
    this.#last = Math.max(Math.floor(this.#clock.wall() * 1000), this.#last + 1)
    const seconds = Math.floor(this.#last / MICROSECONDS)
    return { seconds, nanoseconds: (this.#last - seconds * MICROSECONDS) * 1000 }
  }

  /** All that come are later than this one, too. */
  passed({ seconds, nanoseconds }: FileTime): void {
    this.#last = Math.max(this.#last, seconds * MICROSECONDS + Math.ceil(nanoseconds / 1000))
  }
}
