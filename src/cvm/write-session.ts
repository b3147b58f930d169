/**
 * Numbers the writes of one open handle, so that the owner of its vDisk can tell a late attempt from a new one
 * (vdisk/attempt-guard.ts). A write that failed in the end may have an attempt on its way still: what is sent after it
 * says that it is over, until one that says so was acknowledged.
 *
 * What is sent again is only what no other write of this handle has written since (superseded.ts): the first attempt may
 * have been carried out, and reads may have seen what came after it.
 */
import { HitherError } from '../base/errors.ts'
import type { Generation } from '../base/units.ts'
import { OwnerMoved, type WriteAttempt } from '../vdisk/attempt-guard.ts'
import type { StoragePort } from './port.ts'
import { type ByteRange, type Flight, Superseded } from './superseded.ts'

/** Sends the bytes of `range`, which may be none: then it only tells the owner that an earlier attempt is over. */
export type SendAttempt = (port: StoragePort, attempt: WriteAttempt, range: ByteRange) => Promise<void>

export class WriteSession {
  private readonly client: string
  private generation: Generation
  private nextNumber = 1
  private readonly superseded = new Superseded()
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

  /** One write to `range`: `run` carries it out (again and again, as a path does) with the IO that it is given. */
  async write(
    range: ByteRange,
    run: (io: (port: StoragePort) => Promise<void>) => Promise<void>,
    send: SendAttempt,
  ): Promise<void> {
    const number = this.nextNumber++
    const flight = this.superseded.begin(range, number)
    let settledBelow = 0
    let done = false
    try {
      for (let wait = this.superseded.before(flight); wait !== undefined; ) {
        await wait
        wait = this.superseded.before(flight)
      }
      await run((port) => {
        this.superseded.sent(flight)
        const mine = flight.attempts
        settledBelow = mine > 1 || this.unsureBelow > 0 ? this.lowestUnderWay() : 0
        const name = { client: this.client, number, attempt: mine, settledBelow }
        // A late answer must not have the write sent once more when a later attempt has done it, or is about to.
        const isCurrent = () => !flight.over && mine === flight.attempts
        const attempt = () => {
          const named = { ...name, generation: this.generation }
          return mine === 1 ? send(port, named, range) : this.sendAgain(port, named, flight, isCurrent, send)
        }
        return attempt().catch((error: unknown) => {
          if (!(error instanceof OwnerMoved)) throw error
          const isNews = error.generation > this.generation
          if (isNews) this.generation = error.generation
          if (!isNews || !isCurrent()) throw error
          return attempt()
        })
      })
      done = true
      if (settledBelow >= this.unsureBelow) this.unsureBelow = 0
    } catch (error) {
      const wasAnswered = flight.attempts === 1 && error instanceof HitherError && !error.retryable
      if (!wasAnswered) this.unsureBelow = Math.max(this.unsureBelow, number + 1)
      throw error
    } finally {
      this.superseded.end(flight, done)
    }
  }

  private async sendAgain(
    port: StoragePort,
    attempt: WriteAttempt,
    flight: Flight,
    isCurrent: () => boolean,
    send: SendAttempt,
  ): Promise<void> {
    const { start } = flight.range
    // Before anything else: earlier attempts are refused from here on.
    await send(port, attempt, { start, end: start })
    for (let wait = this.superseded.beforeAgain(flight); wait !== undefined; ) {
      await wait
      wait = this.superseded.beforeAgain(flight)
    }
    for (const range of [...this.superseded.leftOf(flight)]) {
      if (!isCurrent()) throw new HitherError('CONFLICT', `write ${attempt.number} was sent again since`)
      await send(port, attempt, range)
    }
  }

  private lowestUnderWay(): number {
    return this.superseded.oldest ?? this.nextNumber
  }
}
