/**
 * Numbers the writes of one open handle, so that the owner of its vDisk can tell a late attempt from a new one
 * (vdisk/attempt-guard.ts). A write that failed in the end may have an attempt on its way still: what is sent after it
 * says that it is over, until one that says so was acknowledged.
 */
import { HitherError } from '../base/errors.ts'
import type { Generation } from '../base/units.ts'
import { OwnerMoved, type WriteAttempt } from '../vdisk/attempt-guard.ts'
import type { StoragePort } from './port.ts'

export type SendAttempt = (port: StoragePort, attempt: WriteAttempt) => Promise<void>

export class WriteSession {
  private readonly client: string
  private generation: Generation
  private nextNumber = 1
  /** In ascending order. */
  private readonly underWay = new Set<number>()
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

  /** One write: `run` carries it out (again and again, as a path does) with the IO that it is given. */
  async write(
    run: (io: (port: StoragePort) => Promise<void>) => Promise<void>,
    send: SendAttempt,
  ): Promise<void> {
    const number = this.nextNumber++
    this.underWay.add(number)
    let attempts = 0
    let settledBelow = 0
    try {
      await run((port) => {
        attempts++
        settledBelow = attempts > 1 || this.unsureBelow > 0 ? this.lowestUnderWay() : 0
        const name = { client: this.client, number, attempt: attempts, settledBelow }
        return send(port, { ...name, generation: this.generation }).catch((error: unknown) => {
          if (!(error instanceof OwnerMoved) || error.generation <= this.generation) throw error
          this.generation = error.generation
          return send(port, { ...name, generation: this.generation })
        })
      })
      if (settledBelow >= this.unsureBelow) this.unsureBelow = 0
    } catch (error) {
      const wasAnswered = attempts === 1 && error instanceof HitherError && !error.retryable
      if (!wasAnswered) this.unsureBelow = Math.max(this.unsureBelow, number + 1)
      throw error
    } finally {
      this.underWay.delete(number)
    }
  }

  private lowestUnderWay(): number {
    for (const number of this.underWay) return number
    return this.nextNumber
  }
}
