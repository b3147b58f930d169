/**
 * A moment of grace for the writers of the last frame, who have just heard: else the next one goes without them, and two
 * groups take turns for ever, each with a frame and a sync of its own, the small one as dear as the large one.
 *
 * Writers of this process are back within the turn. Those behind a socket come one after the other, over turns of the
 * event loop: where frames are slow they are waited for as long as they do. A client that reads as well comes back with a
 * read as often as not, so as many are waited for as the share of writes in what the vDisk does lets expect.
 */
import type { Clock } from '../platform/types.ts'

/** Turns of the microtask queue; a write's answer takes about five. */
const TASKS_MAX = 16
/** Frames that take less than this are not worth waiting for the event loop. */
const SLOW_FRAME_MS = 0.1
/**
 * For the next writer this part of the time that a frame takes is waited, and for all of them that part; not longer where
 * frames are very slow, as clients are no slower for that.
 */
const NEXT_WRITER_SHARE = 0.2
const NEXT_WRITER_MS_MAX = 0.5
const ALL_WRITERS_SHARE = 0.6
const ALL_WRITERS_MS_MAX = 2
/** Turns of the event loop in which nobody comes and no time passes, as in a simulation. */
const QUIET_TURNS_MAX = 64
/** Others may read the vDisk, too: so large a part of the writers is always expected back. */
const WRITE_SHARE_MIN = 0.25
/** What of the latest frame goes into the means, and how many times the mean its time may be to count in full. */
const LATEST_WEIGHT = 0.25
const OUTLIER = 2

/** Those who wait for the next frame. */
export interface Waiters {
  waiting(): number
  /** There is so much to write already that nobody else is waited for. */
  hasLarge(): boolean
}

export class Gathering {
  private readonly clock: Clock
  /** Reads of the vDisk so far. */
  private readonly reads: () => number
  private readBefore = 0
  /** Who was in the last frame. */
  private writers = 0
  /** How long a frame takes, of late. */
  private frameMs = 0
  /** Of what the vDisk does, of late. */
  private writeShare = 1

  constructor(clock: Clock, reads: () => number) {
    this.clock = clock
    this.reads = reads
  }

  /** A frame goes, with so many writers. */
  sent(writers: number): void {
    this.writers = writers
    const reads = this.reads()
    const share = writers / Math.max(1, writers + reads - this.readBefore)
    this.readBefore = reads
    this.writeShare += (share - this.writeShare) * LATEST_WEIGHT
  }

  /** It took so long. */
  took(ms: number): void {
    if (this.frameMs === 0) this.frameMs = ms
    else this.frameMs += (Math.min(ms, this.frameMs * OUTLIER) - this.frameMs) * LATEST_WEIGHT
  }

  /**
   * Resolves when the next frame is to go.
   * @param others who waited already when the last writers heard
   */
  async wait(waiters: Waiters, others: number): Promise<void> {
    const all = others + this.writers
    // One alone has nobody to wait for: when it comes, its frame goes.
    if (all === 1) return
    for (let task = 0; task < TASKS_MAX && waiters.waiting() < all && !waiters.hasLarge(); task++)
      await undefined
    if (waiters.waiting() === 0 || this.frameMs < SLOW_FRAME_MS) return
    try {
      await this.waitForSockets(
        waiters,
        others + Math.round(this.writers * Math.max(this.writeShare, WRITE_SHARE_MIN)),
      )
    } catch {
      // This CVM is dead. Those who wait hear it from the append.
    }
  }

  private async waitForSockets(waiters: Waiters, expected: number): Promise<void> {
    const forNextMs = Math.min(this.frameMs * NEXT_WRITER_SHARE, NEXT_WRITER_MS_MAX)
    let now = this.clock.now()
    const end = now + Math.min(this.frameMs * ALL_WRITERS_SHARE, ALL_WRITERS_MS_MAX)
    let until = now + forNextMs
    let here = waiters.waiting()
    for (let quiet = 0; here < expected && !waiters.hasLarge() && quiet < QUIET_TURNS_MAX; quiet++) {
      if (now >= until) return
      await this.clock.turn()
      const before = now
      now = this.clock.now()
      if (now > before) quiet = 0
      if (waiters.waiting() === here) continue
      here = waiters.waiting()
      quiet = 0
      until = Math.min(end, now + forNextMs)
    }
  }
}
