/**
 * Autopath: one host's path to storage.
 *
 * Normally the path leads to the CVM of the same node. When that CVM's lease is gone (it crashed, or stopped
 * answering), the path leads to the peer that takes over; when the CVM is back and has been healthy for the hold-down
 * time without a break, the path returns. A CVM that flaps starts its hold-down again each time, so the path does not
 * flap with it.
 *
 * An IO that was under way on a path that is switched away is sent again on the new one; a late answer of the old
 * path is ignored. That is safe: reads are checked against the lease by whoever answers them, and a write of the old
 * owner that was not acknowledged is either in the log that the new owner replays, or fenced. `deadlineMs` bounds the
 * whole: a client sees a pause, and an error only after that.
 */
import { Bag, type BagItem } from '../base/bag.ts'
import { asHitherError, codeOf, HitherError } from '../base/errors.ts'
import type { NodeId } from '../base/units.ts'
import type { Clock } from '../platform/types.ts'
import type { StoragePort } from './port.ts'

/** First wait before an IO is sent again, doubled up to the longest. Milliseconds. */
const RETRY_FIRST_MS = 2
const RETRY_LONGEST_MS = 100
/** Errors that may be real (too few nodes) and not only a matter of moments are given up sooner. Milliseconds. */
const SHORTAGE_PATIENCE_MS = 8_000

export interface HostPathDeps {
  readonly host: NodeId
  readonly clock: Clock
  /** The port that leads to a node's CVM now; `undefined` when there is none. */
  readonly portTo: (node: NodeId) => StoragePort | undefined
  readonly isAlive: (node: NodeId) => boolean
  readonly aliveForMs: (node: NodeId) => number
  readonly successorOf: (node: NodeId) => NodeId | undefined
  readonly holdDownMs: number
  readonly deadlineMs: number
  readonly onSwitched: (from: NodeId, to: NodeId) => void
}

/** Hears that an IO has ended, before whoever waits for its promise does. */
export interface IoWatcher {
  ended(failure: HitherError | undefined): void
}

/** Sends an IO, whose answer comes with a promise; `undefined`: it is done. */
type SendIo<T> = (port: StoragePort) => Promise<T> | undefined

const DONE: Promise<unknown> = Promise.resolve()

/** An IO on its way, whatever it answers. */
interface Airborne extends BagItem {
  /** Node whose port its latest attempt took. */
  readonly path: NodeId
  /** Sends it on the path as it is now. */
  send(): void
}

export class HostPath {
  private readonly deps: HostPathDeps
  private readonly flights = new Bag<Airborne>()
  private current: NodeId
  private cancelReturn: (() => void) | undefined
  private opened = false
  private closed = false

  constructor(deps: HostPathDeps) {
    this.deps = deps
    this.current = deps.host
  }

  get host(): NodeId {
    return this.deps.host
  }

  /** Node whose CVM the path leads to. */
  get target(): NodeId {
    return this.current
  }

  /**
   * Runs one IO, again and again across failures, until it succeeds, fails for good, or the deadline passes.
   * @param io `undefined`: it is done, and has no answer
   * @param watcher called once, in the turn in which the IO ends
   */
  run<T>(io: SendIo<T>, watcher?: IoWatcher): Promise<T> {
    const { port } = this
    const first = port === undefined ? Promise.reject(this.noPort()) : io(port)
    if (first === undefined) {
      watcher?.ended(undefined)
      return DONE as Promise<T>
    }
    return new Promise<T>((resolve, reject) => {
      const flight = new Flight(this, io, watcher, resolve, reject)
      this.flights.add(flight)
      flight.follow(first)
    })
  }

  /** Why nothing can be sent now. */
  noPort(): HitherError {
    return new HitherError('CVM_DOWN', `the CVM of ${this.current} is down`)
  }

  /** The port that the path leads to now. */
  get port(): StoragePort | undefined {
    return this.deps.portTo(this.current)
  }

  get now(): number {
    return this.deps.clock.now()
  }

  /** An IO has ended: it is not sent again. */
  land(flight: Airborne): void {
    this.flights.remove(flight)
  }

  /** Calls `again` after `waitMs`, if an IO that began at `startedAt` and failed with `error` may be sent again then. */
  retry(error: HitherError, startedAt: number, waitMs: number, again: () => void): boolean {
    const { clock, deadlineMs } = this.deps
    const patienceMs = isShortage(error) ? Math.min(SHORTAGE_PATIENCE_MS, deadlineMs) : deadlineMs
    const elapsedMs = clock.now() - startedAt
    if (!error.retryable || this.closed || elapsedMs + waitMs > patienceMs) return false
    clock.after(waitMs, again)
    return true
  }

  /** The CVMs have had their time to start: from here on, one that is not there has failed. */
  open(): void {
    this.opened = true
    this.review()
  }

  /** Membership changed, or a CVM of this node started or died: does the path have to be switched? */
  review(): void {
    if (!this.opened || this.closed) return
    const { host, isAlive, successorOf } = this.deps
    if (!isAlive(this.current)) {
      const next = this.current !== host && this.isReady(host) ? host : successorOf(this.current)
      if (next !== undefined && isAlive(next)) this.switchTo(next)
    }
    if (this.current !== host) this.scheduleReturn()
  }

  /** The CVM that this host's own node had is dead: what it had under way is not answered any more, or does not count. */
  lifeEnded(): void {
    for (const flight of this.flights.all()) if (flight.path === this.deps.host) flight.send()
  }

  close(): void {
    this.closed = true
    this.cancelReturn?.()
  }

  private isReady(node: NodeId): boolean {
    return this.deps.isAlive(node) && this.deps.aliveForMs(node) >= this.deps.holdDownMs
  }

  private scheduleReturn(): void {
    const { host, isAlive, aliveForMs, holdDownMs, clock } = this.deps
    this.cancelReturn?.()
    this.cancelReturn = undefined
    if (!isAlive(host)) return
    const leftMs = holdDownMs - aliveForMs(host)
    if (leftMs <= 0) this.switchTo(host)
    else this.cancelReturn = clock.after(leftMs + 1, () => this.review())
  }

  private switchTo(node: NodeId): void {
    const from = this.current
    if (from === node) return
    this.current = node
    this.cancelReturn?.()
    this.cancelReturn = undefined
    this.deps.onSwitched(from, node)
    // The old path will not answer any more, or its answer does not count. A return leaves IO under way where it is:
    // that path works.
    if (!this.deps.isAlive(from))
      for (const flight of this.flights.all()) if (flight.path === from) flight.send()
  }
}

/** One IO on its way: an attempt on a port, and the next one when that fails. Only the latest attempt counts. */
class Flight<T> implements Airborne {
  bagIndex = -1
  path: NodeId
  private readonly owner: HostPath
  private readonly io: SendIo<T>
  private readonly watcher: IoWatcher | undefined
  private readonly resolve: (value: T) => void
  private readonly reject: (error: HitherError) => void
  private readonly startedAt: number
  private attempt = 0
  private waitMs = RETRY_FIRST_MS

  constructor(
    owner: HostPath,
    io: SendIo<T>,
    watcher: IoWatcher | undefined,
    resolve: (value: T) => void,
    reject: (error: HitherError) => void,
  ) {
    this.owner = owner
    this.path = owner.target
    this.io = io
    this.watcher = watcher
    this.resolve = resolve
    this.reject = reject
    this.startedAt = owner.now
  }

  send(): void {
    const { port } = this.owner
    this.follow(port === undefined ? Promise.reject(this.owner.noPort()) : this.io(port))
  }

  /** An attempt was sent on the path as it is now. */
  follow(attempt: Promise<T> | undefined): void {
    const mine = ++this.attempt
    this.path = this.owner.target
    const answer = attempt ?? (DONE as Promise<T>)
    answer.then(
      (value) => this.succeeded(value, mine),
      (error: unknown) => this.failed(asHitherError(error), mine),
    )
  }

  private succeeded(value: T, mine: number): void {
    if (mine !== this.attempt) return
    this.end(undefined)
    this.resolve(value)
  }

  private failed(error: HitherError, mine: number): void {
    if (mine !== this.attempt) return
    const again = (): void => {
      if (mine === this.attempt) this.send()
    }
    if (this.owner.retry(error, this.startedAt, this.waitMs, again)) {
      this.waitMs = Math.min(this.waitMs * 2, RETRY_LONGEST_MS)
      return
    }
    this.end(error)
    this.reject(error)
  }

  private end(failure: HitherError | undefined): void {
    this.attempt++
    this.owner.land(this)
    this.watcher?.ended(failure)
  }
}

function isShortage(error: HitherError): boolean {
  const code = codeOf(error)
  return code === 'NO_REPLICAS' || code === 'DATA_UNAVAILABLE'
}
