/**
 * The clock of the real world. Two things that `setTimeout` gets wrong are put right here: it may fire up to a
 * millisecond early (a lease must not end early), and it fires at once for more than 2^31−1 ms. Both by looking at the
 * time when a timer fires, and setting it again for the rest.
 */
import { performance } from 'node:perf_hooks'
import { sleepBy } from '../sleep.ts'
import type { Clock } from '../types.ts'

const TIMEOUT_MS_MAX = 2 ** 31 - 1

export class WallClock implements Clock {
  now(): number {
    return performance.now()
  }

  wall(): number {
    return Date.now()
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepBy((time, fire) => this.after(time, fire), ms, signal)
  }

  turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }

  after(ms: number, fire: () => void): () => void {
    const due = this.now() + ms
    let timer: NodeJS.Timeout
    const arm = (rest: number): void => {
      timer = setTimeout(
        () => {
          const left = due - this.now()
          if (left > 0) arm(left)
          else fire()
        },
        Math.min(Math.ceil(rest), TIMEOUT_MS_MAX),
      ).unref()
    }
    arm(ms)
    return () => clearTimeout(timer)
  }
}
