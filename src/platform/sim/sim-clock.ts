/**
 * A node's clock in virtual time. Clocks differ: each may run at a rate of its own (drift), and its wall time may
 * jump (`step`), as NTP and operators do. The monotonic time never jumps.
 */
import { sleepBy } from '../sleep.ts'
import type { Clock } from '../types.ts'
import type { SimLoop } from './loop.ts'

/** Wall time at which the simulated world begins: 2026-01-01, so that runs do not depend on today. */
const WALL_START_MS = 1_767_225_600_000

export class SimClock implements Clock {
  readonly #loop: SimLoop
  /** Local milliseconds per virtual millisecond. */
  #rate = 1
  #base = 0
  #since = 0
  #stepMs = 0

  constructor(loop: SimLoop) {
    this.#loop = loop
  }

  /** From now on this clock gains (or loses, when negative) so many parts per million. */
  drift(partsPerMillion: number): void {
    this.#base = this.now()
    this.#since = this.#loop.now
    this.#rate = 1 + partsPerMillion / 1e6
  }

  /** Wall time jumps by `ms`. */
  step(ms: number): void {
    this.#stepMs += ms
  }

  now(): number {
    return this.#base + (this.#loop.now - this.#since) * this.#rate
  }

  wall(): number {
    return WALL_START_MS + this.now() + this.#stepMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepBy((time, fire) => this.after(time, fire), ms, signal)
  }

  turn(): Promise<void> {
    return this.#loop.sleep(0)
  }

  after(ms: number, fire: () => void): () => void {
    return this.#loop.after(Math.max(0, ms) / this.#rate, fire)
  }
}
