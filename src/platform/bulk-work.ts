/**
 * Bulk work beside guests. A rebuild, a scrub, a compaction is made of steps (a few hundred KiB read, checked or written),
 * and between two of them guests go first: while they do IO, all bulk work of the thread together rests for a multiple of
 * the time that it worked. While they do none it goes as fast as it can.
 *
 * CVMs that share a thread share their guests: each holds the others up, whoever's guest it is. A CVM that is short of
 * space is in a hurry; and while a write waits for space nothing rests, as a guest that waits for space waits longer than
 * one behind a step.
 */
import { KiB } from '../base/units.ts'
import type { Clock } from './types.ts'

/** What is read, received or walked in one step, bytes. */
export const BULK_STEP_BYTES = 256 * KiB

/** Time rested for each unit of time worked, while there are guests: bulk work then has a tenth of the thread. */
const REST_PER_WORK = 9
/** The same of what is in a hurry: it has half of the thread. */
const REST_PER_WORK_HURRIED = 1
/** Longest rest after one step, ms: a step that took long waited for a device or a peer, and rested there. */
const REST_MS_MAX = 50
/** Guests that did nothing for so long, in ms, are gone. */
const GUESTS_STAY_MS = 100

/** What guests do on one thread. */
export class GuestActivity {
  /** IOs of guests, ever. Whoever serves one counts it here. */
  ios = 0
  /** Writes that wait for space, which bulk work gets back. */
  waitingForSpace = 0
  private seen = 0
  private hereUntil = Number.NEGATIVE_INFINITY
  private freeAt = Number.NEGATIVE_INFINITY

  /** Guests that bulk work holds up; not when some wait for it to end. */
  areHere(now: number): boolean {
    if (this.waitingForSpace > 0) return false
    if (this.ios !== this.seen) {
      this.seen = this.ios
      this.hereUntil = now + GUESTS_STAY_MS
    }
    return now < this.hereUntil
  }

  /** How long bulk work has to rest now. Guests are here. */
  rest(now: number, wantedMs: number): number {
    const rest = Math.min(wantedMs, REST_MS_MAX)
    this.freeAt = Math.max(now, this.freeAt) + rest
    return this.freeAt - now
  }
}

/** To be awaited between two steps. Rejects only with `CVM_DOWN`. */
export type Rest = () => Promise<void>

/** The bulk work of one CVM. */
export interface BulkWork {
  /** Steps had better be small. */
  readonly hasGuests: boolean
  /**
   * A piece of work begins now; steps count from here, and from the end of the last rest.
   * @param pace `hurried`: somebody waits for its end
   */
  begin(pace?: 'hurried'): Rest
}

/**
 * Bulk work that goes by what guests do on the thread.
 * @param isShort this CVM is short of space
 */
export function bulkWork(clock: Clock, guests: GuestActivity, isShort: () => boolean): BulkWork {
  return {
    get hasGuests() {
      return guests.areHere(clock.now())
    },
    begin(pace) {
      let startedAt = clock.now()
      return async () => {
        const now = clock.now()
        if (guests.areHere(now)) {
          const restPerWork = pace === 'hurried' || isShort() ? REST_PER_WORK_HURRIED : REST_PER_WORK
          await clock.sleep(guests.rest(now, (now - startedAt) * restPerWork))
        } else {
          await clock.turn()
        }
        startedAt = clock.now()
      }
    },
  }
}

/** Bulk work where there are no guests. */
export const UNDISTURBED: BulkWork = { hasGuests: false, begin: () => () => Promise.resolve() }
