/**
 * Numbers the writes of one open handle, so that the owner of its vDisk can tell a late attempt from a new one
 * (vdisk/attempt-guard.ts). A write that failed in the end may have an attempt on its way still: what is sent after it
 * says that it is over, until one that says so was acknowledged.
 *
 * Writes of one handle to the same bytes go one after the other, as they do at the owner. So while a write is made again,
 * because its answer was lost, nothing can have been acknowledged in its place that it would bring old bytes over.
 */
import { Bag, type BagItem } from '../base/bag.ts'
import { asHitherError, type HitherError } from '../base/errors.ts'
import { Semaphore } from '../base/queue.ts'
import { type LockedRange, RangeLock } from '../base/range-lock.ts'
import { BLOCK_BYTES, type Generation } from '../base/units.ts'
import { OwnerMoved, type WriteAttempt } from '../vdisk/attempt-guard.ts'
import type { IoWatcher } from './host-path.ts'
import type { StoragePort } from './port.ts'

/** Writes of one handle under way; more wait. As many as their vDisk's owner lets in. */
const IN_FLIGHT_MAX = 256

/** Carries an IO out, again and again, as a path does, and tells the watcher when it has ended. */
export type RunIo = (io: (port: StoragePort) => Promise<void>, watcher: IoWatcher) => Promise<void>

/** Carries an IO out once. */
export function through(port: StoragePort): RunIo {
  return async (io, watcher) => {
    try {
      await io(port)
    } catch (cause) {
      const error = asHitherError(cause)
      watcher.ended(error)
      throw error
    }
    watcher.ended(undefined)
  }
}

export type SendAttempt = (port: StoragePort, attempt: WriteAttempt) => Promise<void>

export class WriteSession {
  private readonly client: string
  private generation: Generation
  private nextNumber = 1
  private readonly underWay = new Bag<SessionWrite>()
  private readonly places = new Semaphore(IN_FLIGHT_MAX)
  private readonly ranges = new RangeLock(BLOCK_BYTES)
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

  /** One write to bytes `start` … `end`. `watcher` hears of its end behind the session. */
  write(start: number, end: number, run: RunIo, send: SendAttempt, watcher?: IoWatcher): Promise<void> {
    if (this.places.tryAcquire()) return this.writeInPlace(start, end, run, send, watcher)
    return this.places.acquire().then(() => this.writeInPlace(start, end, run, send, watcher))
  }

  private writeInPlace(
    start: number,
    end: number,
    run: RunIo,
    send: SendAttempt,
    watcher: IoWatcher | undefined,
  ): Promise<void> {
    const write = new SessionWrite(this, this.nextNumber++, send, watcher)
    this.underWay.add(write)
    const io = (port: StoragePort): Promise<void> => write.send(port)
    const range = this.ranges.tryLock(start, end)
    if (range === undefined) {
      return this.ranges.lock(start, end).then((waitedFor) => {
        write.range = waitedFor
        return run(io, write)
      })
    }
    write.range = range
    return run(io, write)
  }

  /** The name of an attempt, for the owner of the generation that is known. */
  nameOf(number: number, attempt: number, settledBelow: number): WriteAttempt {
    return { client: this.client, number, attempt, settledBelow, generation: this.generation }
  }

  /** Below which write all are over, when an attempt has to say so; else 0. */
  settledBelow(attempt: number): number {
    if (attempt === 1 && this.unsureBelow === 0) return 0
    return this.underWay.all().reduce((lowest, { number }) => Math.min(lowest, number), this.nextNumber)
  }

  /** The owner said of which generation it is. `false`: that is no news. */
  learn(generation: Generation): boolean {
    if (generation <= this.generation) return false
    this.generation = generation
    return true
  }

  /**
   * A write is over.
   * @param toldBelow what its attempt said, when that was acknowledged; else 0
   * @param isUnsure an attempt may still be on its way
   */
  land(write: SessionWrite, toldBelow: number, isUnsure: boolean): void {
    const { number } = write
    if (isUnsure) this.unsureBelow = Math.max(this.unsureBelow, number + 1)
    else if (toldBelow >= this.unsureBelow) this.unsureBelow = 0
    this.underWay.remove(write)
    this.ranges.unlock(write.range!)
    this.places.release()
  }
}

/** One write of a session on its way. */
class SessionWrite implements IoWatcher, BagItem {
  bagIndex = -1
  readonly number: number
  /** Its bytes, from when it is sent. */
  range: LockedRange | undefined
  private readonly session: WriteSession
  private readonly sendAttempt: SendAttempt
  private readonly watcher: IoWatcher | undefined
  private attempts = 0
  private settledBelow = 0
  private over = false

  constructor(
    session: WriteSession,
    number: number,
    sendAttempt: SendAttempt,
    watcher: IoWatcher | undefined,
  ) {
    this.session = session
    this.number = number
    this.sendAttempt = sendAttempt
    this.watcher = watcher
  }

  send(port: StoragePort): Promise<void> {
    const mine = ++this.attempts
    const settledBelow = this.session.settledBelow(mine)
    this.settledBelow = settledBelow
    const sent = this.sendAttempt(port, this.session.nameOf(this.number, mine, settledBelow))
    return sent.catch((error: unknown) => {
      if (!(error instanceof OwnerMoved)) throw error
      const isNews = this.session.learn(error.generation)
      // The answer may come long after a later attempt did the write: what is over is never sent again.
      if (!isNews || this.over || mine !== this.attempts) throw error
      return this.sendAttempt(port, this.session.nameOf(this.number, mine, settledBelow))
    })
  }

  ended(failure: HitherError | undefined): void {
    this.over = true
    const isRefusal = failure !== undefined && this.attempts === 1 && !failure.retryable
    this.session.land(
      this,
      failure === undefined ? this.settledBelow : 0,
      failure !== undefined && !isRefusal,
    )
    this.watcher?.ended(failure)
  }
}
