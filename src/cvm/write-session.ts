/**
 * Numbers the writes of one open handle, so that the owner of its vDisk can tell a late attempt from a new one
 * (vdisk/attempt-guard.ts). A write that failed in the end may have an attempt on its way still: what is sent after it
 * says that it is over, until one that says so was acknowledged.
 *
 * Writes of one handle to the same bytes go one after the other, as they do at the owner. So while a write is made again,
 * because its answer was lost, nothing can have been acknowledged in its place that it would bring old bytes over.
 */
import { HitherError } from '../base/errors.ts'
import { Semaphore } from '../base/queue.ts'
import { RangeLock } from '../base/range-lock.ts'
import type { Generation } from '../base/units.ts'
import { OwnerMoved, type WriteAttempt } from '../vdisk/attempt-guard.ts'
import type { StoragePort } from './port.ts'

/** Writes of one handle under way; more wait. As many as their vDisk's owner lets in. */
const IN_FLIGHT_MAX = 256

export type SendAttempt = (port: StoragePort, attempt: WriteAttempt) => Promise<void>

export class WriteSession {
  private readonly client: string
  private generation: Generation
  private nextNumber = 1
  /** In ascending order. */
  private readonly underWay = new Set<number>()
  private readonly places = new Semaphore(IN_FLIGHT_MAX)
  private readonly ranges = new RangeLock()
  /** An attempt of a write below, which failed, may still be on its way; 0: there is none. */
  private unsureBelow = 0

  /**
   * @param client a name that nobody else has or had
   * @param generation of the vDisk's owner, as far as known; 0 when it is not
   */
  constructor(client: string, generation: Generation) {
    this.client = client
    this.generation = generation
  }

  /** One write to bytes `start` … `end`: `run` carries it out (again and again, as a path does) with the IO that it is given. */
  async write(
    start: number,
    end: number,
    run: (io: (port: StoragePort) => Promise<void>) => Promise<void>,
    send: SendAttempt,
  ): Promise<void> {
    if (!this.places.tryAcquire()) await this.places.acquire()
    const number = this.nextNumber++
    this.underWay.add(number)
    if (!this.ranges.tryLock(start, end)) await this.ranges.lock(start, end)
    let attempts = 0
    let over = false
    let settledBelow = 0
    try {
      await run((port) => {
        const mine = ++attempts
        settledBelow = mine > 1 || this.unsureBelow > 0 ? this.lowestUnderWay() : 0
        const name = { client: this.client, number, attempt: mine, settledBelow }
        return send(port, { ...name, generation: this.generation }).catch((error: unknown) => {
          if (!(error instanceof OwnerMoved)) throw error
          const isNews = error.generation > this.generation
          if (isNews) this.generation = error.generation
          // The answer may come long after a later attempt did the write: what is over is never sent again.
          if (!isNews || over || mine !== attempts) throw error
          return send(port, { ...name, generation: this.generation })
        })
      })
      if (settledBelow >= this.unsureBelow) this.unsureBelow = 0
    } catch (error) {
      const wasAnswered = attempts === 1 && error instanceof HitherError && !error.retryable
      if (!wasAnswered) this.unsureBelow = Math.max(this.unsureBelow, number + 1)
      throw error
    } finally {
      over = true
      this.underWay.delete(number)
      this.ranges.unlock(start, end)
      this.places.release()
    }
  }

  private lowestUnderWay(): number {
    for (const number of this.underWay) return number
    return this.nextNumber
  }
}
