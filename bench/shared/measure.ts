/**
 * Drives one kind of IO at a queue depth for a while, and tells what it cost: rate, latency, CPU of this process, memory,
 * and how late the event loop was.
 */
import { createHistogram, monitorEventLoopDelay, type RecordableHistogram } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'

export interface DriveOptions {
  /** Operations under way at a time. */
  readonly depth: number
  readonly seconds: number
  /**
   * `cpu`: `seconds` are CPU time of this process, so that on a busy machine as much work is done as on an idle one, and
   * the compiler has had the time it needs. At most ten times as long by the clock. Default `wall`.
   */
  readonly clock?: 'wall' | 'cpu'
  /** Ends earlier than `seconds` after so many operations. */
  readonly operationsMax?: number
  /** Times one operation of so many; a clock read costs as much as a tenth of a cached read. Default 1. */
  readonly sampleEvery?: number
  readonly signal?: AbortSignal | undefined
  /** Called about four times a second with the rate so far. */
  readonly onRate?: ((perSecond: number) => void) | undefined
}

export interface Measured {
  readonly operations: number
  readonly seconds: number
  /** CPU time of the whole process, all its threads. */
  readonly cpuUs: number
  /** Of the timed operations, nanoseconds. */
  readonly latency: RecordableHistogram
  readonly rssBytes: number
  /** 99th percentile of how much later than due a timer fired, ms. */
  readonly loopDelayMs: number
}

const LATENCY_NS_MAX = 3_600_000_000_000
const CALLS_PER_LOOK = 32
/** A loop that runs on promises alone lets sockets and timers have a turn this often. */
const TURN_EVERY_MS = 2

/** Runs `operation(0)`, `operation(1)`, … until the time is over. Rejects with the first error of one. */
export async function drive(
  operation: (i: number) => Promise<unknown>,
  options: DriveOptions,
): Promise<Measured> {
  const { depth, operationsMax = Number.POSITIVE_INFINITY, sampleEvery = 1, signal } = options
  const latency = latencyHistogram()
  const loopDelay = monitorEventLoopDelay({ resolution: 5 })
  loopDelay.enable()
  const cpu = process.cpuUsage()
  const startedAt = performance.now()
  const isOver = deadline(options.seconds, options.clock ?? 'wall')
  let over = false
  let now = startedAt
  let toldAt = startedAt
  let turnedAt = startedAt
  let next = 0
  let done = 0
  const worker = async (): Promise<void> => {
    while (next < operationsMax && !over && !signal?.aborted) {
      const i = next++
      if (i % sampleEvery !== 0) {
        await operation(i)
        done++
        continue
      }
      const from = performance.now()
      await operation(i)
      done++
      now = performance.now()
      latency.record(Math.max(1, Math.round((now - from) * 1e6)))
      if (now - turnedAt > TURN_EVERY_MS) {
        turnedAt = now
        over = isOver()
        await turn()
      }
      if (options.onRate !== undefined && now - toldAt > 250) {
        toldAt = now
        options.onRate(done / ((now - startedAt) / 1_000))
      }
    }
  }
  try {
    await Promise.all(Array.from({ length: depth }, worker))
  } finally {
    loopDelay.disable()
  }
  const used = process.cpuUsage(cpu)
  return {
    operations: done,
    seconds: (performance.now() - startedAt) / 1_000,
    cpuUs: used.user + used.system,
    latency,
    rssBytes: process.memoryUsage.rss(),
    loopDelayMs: loopDelay.count > 0 ? loopDelay.percentile(99) / 1e6 : 0,
  }
}

/**
 * As `drive`, for work that does not wait: a tight loop, with a look at the clock now and then, and no latencies. Others
 * in the process, such as open clusters with their leases, have their turn all the same.
 */
export async function driveSync(
  operation: (i: number) => void,
  seconds: number,
  clock: 'wall' | 'cpu' = 'wall',
): Promise<Measured> {
  const cpu = process.cpuUsage()
  const startedAt = performance.now()
  const isOver = deadline(seconds, clock)
  let turnedAt = startedAt
  let i = 0
  do {
    for (let n = 0; n < CALLS_PER_LOOK; n++) operation(i++)
    if (performance.now() - turnedAt > TURN_EVERY_MS) {
      await turn()
      turnedAt = performance.now()
    }
  } while (!isOver())
  const used = process.cpuUsage(cpu)
  return {
    operations: i,
    seconds: (performance.now() - startedAt) / 1_000,
    cpuUs: used.user + used.system,
    latency: latencyHistogram(),
    rssBytes: process.memoryUsage.rss(),
    loopDelayMs: 0,
  }
}

function deadline(seconds: number, clock: 'wall' | 'cpu'): () => boolean {
  const startedAt = performance.now()
  if (clock === 'wall') return () => performance.now() - startedAt >= seconds * 1_000
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return user + system >= seconds * 1e6 || performance.now() - startedAt >= seconds * 10_000
  }
}

export function latencyHistogram(): RecordableHistogram {
  return createHistogram({ lowest: 1, highest: LATENCY_NS_MAX, figures: 3 })
}
