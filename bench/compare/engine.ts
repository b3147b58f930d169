/** The engine as a contender: the IO jobs of the workload, a turn at a time. */
import { drive } from '../shared/measure.ts'
import type { BenchContext } from '../shared/options.ts'
import type { Contender } from '../shared/turns.ts'
import { BenchCluster } from '../workload/bench-cluster.ts'
import type { Cell } from '../workload/cell.ts'
import { depthOf, fillAndRead, type IoJob, operationOf } from '../workload/io-jobs.ts'

/** A new cluster each turn, so that a `memory:` cluster does not grow without end. */
export function freshEngine(
  name: string,
  job: IoJob,
  cell: Cell,
  seconds: number,
  context: BenchContext,
): Contender {
  return {
    name,
    bytes: job.ioBytes,
    async round() {
      await using bench = await BenchCluster.open(cell, context.dir, { cacheBytes: job.cacheBytes })
      await using disk = await bench.disk('disk', job.diskBytes)
      const depth = depthOf(job, cell)
      return await drive(operationOf(job, bench, disk, depth), {
        depth,
        seconds,
        clock: 'cpu',
        signal: context.signal,
      })
    },
  }
}

/** A cluster with a filled disk for all turns, and the contender that reads it. The caller disposes the cluster. */
export async function filledEngine(
  name: string,
  job: IoJob,
  cell: Cell,
  seconds: number,
  context: BenchContext,
): Promise<{ readonly bench: BenchCluster; readonly contender: Contender }> {
  const bench = await BenchCluster.open(cell, context.dir, { cacheBytes: job.cacheBytes })
  const disk = await bench.disk('disk', job.diskBytes)
  await fillAndRead(bench, disk, job.diskBytes)
  const depth = depthOf(job, cell)
  const operation = operationOf(job, bench, disk, depth)
  return {
    bench,
    contender: {
      name,
      bytes: job.ioBytes,
      // Few operations are timed: a look at the clock costs a tenth of a cached read.
      round: () =>
        drive(operation, { depth, seconds, clock: 'cpu', sampleEvery: 32, signal: context.signal }),
    },
  }
}
