/** One micro job under the package `benchmark`: it chooses how many calls make a sample, and how many samples are enough. */
import Benchmark from 'benchmark'
import { median } from '../shared/turns.ts'
import { fold, type MicroJob } from './job.ts'

export interface MicroResult {
  readonly name: string
  /** Median time of one operation. */
  readonly nsPerOperation: number
  /** Mebibytes a second; left out for a job without bytes. */
  readonly mibPerSecond?: number
  /** Relative margin of error at 95 %. */
  readonly marginPercent: number
  readonly samples: number
  /** Of all answers; printed so that the work has to be done. */
  readonly sink: number
}

/** Measures one job for about `seconds`. An aborted `signal` ends it with what there is. */
export async function measure(job: MicroJob, seconds: number, signal: AbortSignal): Promise<MicroResult> {
  const made = await job.setUp()
  let sink = 0
  let call = 0
  // Deferred calls cost the package a microsecond or two: only what has to wait pays that.
  const first = made.run(call++)
  const waits = typeof first !== 'number'
  sink = fold(sink, await first)
  let stop = (): void => {}
  try {
    let failure: unknown
    const benchmark = await new Promise<Benchmark>((resolve) => {
      const fn = waits
        ? (deferred: { resolve(): void }) => {
            Promise.resolve(made.run(call++)).then(
              (answer) => {
                sink = fold(sink, answer)
                deferred.resolve()
              },
              (error: unknown) => {
                failure = error
                bench.abort()
              },
            )
          }
        : () => {
            sink = fold(sink, made.run(call++) as number)
          }
      const bench = new Benchmark(job.name, fn, {
        defer: waits,
        async: true,
        maxTime: seconds,
        minTime: Math.min(0.05, seconds / 8),
        minSamples: 5,
        onComplete: () => resolve(bench),
      })
      stop = () => bench.abort()
      signal.addEventListener('abort', stop, { once: true })
      bench.run({ async: true })
    })
    failure ??= benchmark.error
    if (failure !== undefined) throw failure
    return summary(job.name, benchmark, made.operationsPerCall, made.bytesPerCall, sink)
  } finally {
    signal.removeEventListener('abort', stop)
    await made.close?.()
  }
}

function summary(
  name: string,
  { stats }: Benchmark,
  operationsPerCall: number,
  bytesPerCall: number | undefined,
  sink: number,
): MicroResult {
  const secondsPerCall = median(stats.sample)
  return {
    name,
    nsPerOperation: (secondsPerCall * 1e9) / operationsPerCall,
    ...(bytesPerCall === undefined ? {} : { mibPerSecond: bytesPerCall / secondsPerCall / 2 ** 20 }),
    marginPercent: stats.rme,
    samples: stats.sample.length,
    sink,
  }
}
