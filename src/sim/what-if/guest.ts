/**
 * One VM: wants requests at its own pace, and tells when they are answered. With `iops` it wants them at random moments
 * whatever the storage does, and a request that has to wait for a place counts from the moment it was wanted: a pause
 * shows in the percentiles as long as it was. Without, it keeps `queueDepth` requests in flight.
 */
import type { VDisk } from '../../api.ts'
import { asHitherError, type ErrorCode } from '../../base/errors.ts'
import { ln } from '../../base/exact-math.ts'
import type { SimLoop } from '../../platform/sim/loop.ts'
import type { Random } from '../../platform/types.ts'
import type { VmPlan } from './plan.ts'
import { fillContent, type Request, requestOfTrace, requestsOf, type TraceColumns } from './workload.ts'

/**
 * What a guest does between an answer and its next request, ms: 10 µs, a system call and the virtual device. It also
 * lets virtual time pass when every answer comes from memory, which takes none.
 */
const THINK_MS = 0.01
/** After a failed request, as a guest's driver that retries. Milliseconds. */
const RETRY_MS = 100

export interface GuestDeps {
  readonly plan: VmPlan
  readonly disk: VDisk
  readonly loop: SimLoop
  readonly random: Random
  readonly trace: TraceColumns | undefined
  /** `wantedMs`: loop time at which the VM wanted it. */
  readonly onAnswer: (guest: Guest, request: Request, wantedMs: number) => void
}

export class Guest {
  readonly plan: VmPlan
  readonly disk: VDisk
  requests = 0
  readBytes = 0
  writtenBytes = 0
  readonly failures = new Map<ErrorCode, number>()
  readonly #deps: GuestDeps
  readonly #wanted: Array<{ readonly request: Request; readonly atMs: number }> = []
  #nextWanted = 0
  #inFlight = 0
  #running = false

  constructor(deps: GuestDeps) {
    this.#deps = deps
    this.plan = deps.plan
    this.disk = deps.disk
  }

  /** Wanted and not answered yet. */
  get waiting(): number {
    return this.#wanted.length - this.#nextWanted + this.#inFlight
  }

  /** Starts and stops itself at the times of its plan, counted from now. */
  begin(): void {
    const { loop } = this.#deps
    loop.after(this.plan.startMs, () => {
      this.#running = true
      this.#start()
    })
    loop.after(this.plan.stopMs, () => this.end())
  }

  /** Wants nothing more; what is in flight goes on. */
  end(): void {
    this.#running = false
  }

  #start(): void {
    const { trace, random } = this.#deps
    if (trace !== undefined) {
      this.#replay(trace)
      return
    }
    const next = requestsOf(this.plan, random)
    const { iops, queueDepth } = this.plan
    if (iops === undefined) for (let place = 0; place < queueDepth; place++) this.#keepBusy(next)
    else this.#arrive(next, 1_000 / iops)
  }

  /** Closed loop: one place of the queue. */
  #keepBusy(next: () => Request): void {
    this.#deps.loop.after(THINK_MS, () => {
      if (!this.#running) return
      void this.#issue(next(), this.#deps.loop.now).then(() => this.#keepBusy(next))
    })
  }

  /** Open loop: Poisson arrivals. */
  #arrive(next: () => Request, meanMs: number): void {
    const draw = (this.#deps.random.u32() + 1) / 2 ** 32
    this.#deps.loop.after(-ln(draw) * meanMs, () => {
      if (!this.#running) return
      this.#want(next())
      this.#arrive(next, meanMs)
    })
  }

  #replay(trace: TraceColumns): void {
    const { skipMs, speed } = this.plan.trace!
    const { loop } = this.#deps
    const beganMs = loop.now
    let at = 0
    while (at < trace.length && trace.timeMs[at]! < skipMs) at++
    const step = (): void => {
      if (!this.#running) return
      const passedMs = (loop.now - beganMs) * speed + skipMs
      while (at < trace.length && trace.timeMs[at]! <= passedMs) {
        this.#want(requestOfTrace(trace, at, this.plan.workingSetBytes))
        at++
      }
      if (at < trace.length) loop.after(Math.max(0.001, (trace.timeMs[at]! - passedMs) / speed), step)
    }
    step()
  }

  #want(request: Request): void {
    this.#wanted.push({ request, atMs: this.#deps.loop.now })
    this.#pump()
  }

  #pump(): void {
    while (this.#inFlight < this.plan.queueDepth && this.#nextWanted < this.#wanted.length) {
      const { request, atMs } = this.#wanted[this.#nextWanted++]!
      void this.#issue(request, atMs).then(() => this.#pump())
    }
    if (this.#nextWanted === this.#wanted.length) {
      this.#wanted.length = 0
      this.#nextWanted = 0
    }
  }

  /** Ends when the request is answered, or has failed and the guest has waited. */
  async #issue(request: Request, wantedMs: number): Promise<void> {
    const { loop, random, onAnswer } = this.#deps
    const bytes = new Uint8Array(request.length)
    this.#inFlight++
    try {
      if (request.write) {
        fillContent(bytes, this.plan.compressible, random)
        await this.disk.write(request.offset, bytes)
        this.writtenBytes += request.length
      } else {
        await this.disk.readInto(request.offset, bytes)
        this.readBytes += request.length
      }
      this.requests++
      this.#inFlight--
      onAnswer(this, request, wantedMs)
    } catch (error) {
      const { code } = asHitherError(error)
      this.failures.set(code, (this.failures.get(code) ?? 0) + 1)
      await loop.sleep(RETRY_MS)
      this.#inFlight--
    }
  }
}
