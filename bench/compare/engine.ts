/** The engine as a contender: the IO jobs of the workload, a turn at a time. */
import type { ClusterSettings } from '../../src/index.ts'
import { drive, type Measured } from '../shared/measure.ts'
import type { BenchContext } from '../shared/options.ts'
import type { Contender } from '../shared/turns.ts'
import { BenchCluster } from '../workload/bench-cluster.ts'
import type { Cell } from '../workload/cell.ts'
import { depthOf, fillAndRead, type IoJob, operationOf } from '../workload/io-jobs.ts'

/** Few operations are timed: a look at the clock costs a tenth of a cached read, and the limits are not timed either. */
const CPU_TURN = { clock: 'cpu', sampleEvery: 32 } as const

/**
 * An engine in its steady state: one cluster for all turns, a new disk each turn, whose space is reclaimed before the next.
 * So the memory of its devices has been touched before, as that of a store which has run for a while has; in the first
 * turn it has not, and the median leaves that one out. The caller disposes the cluster.
 */
export async function steadyEngine(
  name: string,
  job: IoJob,
  cell: Cell,
  seconds: number,
  context: BenchContext,
  settings: ClusterSettings = {},
): Promise<{ readonly bench: BenchCluster; readonly contender: Contender }> {
  const bench = await BenchCluster.open(cell, context.dir, { cacheBytes: job.cacheBytes, ...settings })
  const depth = depthOf(job, cell)
  let turns = 0
  const round = async (): Promise<Measured> => {
    const disk = await bench.disk(`disk-${++turns}`, job.diskBytes)
    const operation = operationOf(job, bench, disk, depth)
    const measured = await drive(operation, { ...CPU_TURN, depth, seconds, signal: context.signal })
    await disk.close()
    await bench.cluster.deleteVDisk(disk.name)
    await bench.cluster.runCurator()
    return measured
  }
  return { bench, contender: { name, bytes: job.ioBytes, round } }
}

/** Most turns that a contender may take before the ones that count. */
const WARM_UP_TURNS_MAX = 12
/** A turn this much cheaper than the best before it: the compiler was still at work. */
const STILL_WARMING = 0.95

/** Lets a contender over `memory:` take turns until they get no cheaper. */
export async function warmUp(contender: Contender, context: BenchContext): Promise<void> {
  let best = Number.POSITIVE_INFINITY
  for (let turn = 0; turn < WARM_UP_TURNS_MAX && !context.signal.aborted; turn++) {
    context.progress.now(`compare ${contender.name}, warming up`)
    const { cpuUs, operations } = await contender.round()
    const cost = cpuUs / operations
    if (cost > best * STILL_WARMING) return
    best = cost
  }
}

/**
 * A cluster with a filled disk for all turns, and the contender that reads it. The caller disposes the cluster.
 * @param fillBytes of each write that fills the disk: with 4 KiB every block is a slice of its own
 */
export async function filledEngine(
  name: string,
  job: IoJob,
  cell: Cell,
  seconds: number,
  context: BenchContext,
  fillBytes?: number,
): Promise<{ readonly bench: BenchCluster; readonly contender: Contender }> {
  const bench = await BenchCluster.open(cell, context.dir, { cacheBytes: job.cacheBytes })
  const disk = await bench.disk('disk', job.diskBytes)
  await fillAndRead(bench, disk, job.diskBytes, fillBytes)
  const depth = depthOf(job, cell)
  const operation = operationOf(job, bench, disk, depth)
  return {
    bench,
    contender: {
      name,
      bytes: job.ioBytes,
      round: () => drive(operation, { ...CPU_TURN, depth, seconds, signal: context.signal }),
    },
  }
}
