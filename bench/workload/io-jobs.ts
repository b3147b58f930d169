/** Jobs that are one kind of IO at a queue depth: what fio would run, without a door in between. */
import { KiB, MiB, type VDisk } from '../../src/index.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import type { Random } from '../../src/platform/types.ts'
import { type DriveOptions, drive, type Measured } from '../shared/measure.ts'
import type { BenchContext } from '../shared/options.ts'
import { profiled } from '../shared/profile.ts'
import { BenchCluster, SpaceMeter } from './bench-cluster.ts'
import type { Cell } from './cell.ts'
import { type Row, rowOf } from './row.ts'
import { Zipf } from './zipf.ts'

export interface IoJob {
  readonly name: string
  readonly ioBytes: number
  readonly diskBytes: number
  /** The disk is written in full, then read once, before the measurement. */
  readonly filled: boolean
  /** 0 makes every read one of a device. */
  readonly cacheBytes: number
  /** Share of reads, and where the i-th IO goes, in units of `ioBytes`. */
  readonly reads: number
  place(random: Random, units: number): (i: number) => number
}

/** At most so much is written in one job, so that a `memory:` cluster stays in memory. */
const WRITTEN_BYTES_MAX = 512 * MiB

const anywhere: IoJob['place'] = (random, units) => () => random.below(units)
const inOrder: IoJob['place'] = (_random, units) => (i) => i % units
const zipf: IoJob['place'] = (random, units) => {
  const places = new Zipf(units, random)
  return () => places.next()
}

/** A disk that fits the cache, and is filled before. */
const READ = {
  ioBytes: 4 * KiB,
  diskBytes: 32 * MiB,
  filled: true,
  cacheBytes: 64 * MiB,
  reads: 1,
  place: anywhere,
}
const WRITE = { ...READ, diskBytes: 256 * MiB, filled: false, reads: 0 }

export const WRITE_4K: IoJob = { ...WRITE, name: 'write-4k' }
export const READ_4K_CACHED: IoJob = { ...READ, name: 'read-4k-cached' }
export const READ_4K_DEVICE: IoJob = { ...READ, name: 'read-4k-device', cacheBytes: 0 }
export const WRITE_1M: IoJob = { ...WRITE, name: 'write-1m', ioBytes: MiB, place: inOrder }

export const ioJobs: readonly IoJob[] = [
  READ_4K_CACHED,
  READ_4K_DEVICE,
  { ...WRITE, name: 'write-64k', ioBytes: 64 * KiB, place: inOrder },
  { ...READ, name: 'read-64k', ioBytes: 64 * KiB, cacheBytes: 0, place: inOrder },
  WRITE_1M,
  { ...READ, name: 'read-1m', ioBytes: MiB, cacheBytes: 0, place: inOrder },
  { ...READ, name: 'mix-70-30', reads: 0.7 },
  { ...READ, name: 'oltp-zipf', reads: 0.7, place: zipf, cacheBytes: 8 * MiB },
]

/** Large IO at the same depth would only queue: 1 MiB × 32 is more than any client has under way. */
export function depthOf(job: IoJob, cell: Cell): number {
  return Math.max(1, Math.min(cell.depth, Math.floor((4 * MiB) / job.ioBytes)))
}

export async function runIoJob(job: IoJob, cell: Cell, seconds: number, context: BenchContext): Promise<Row> {
  await using bench = await BenchCluster.open(cell, context.dir, { cacheBytes: job.cacheBytes })
  await using disk = await bench.disk('disk', job.diskBytes)
  if (job.filled) await fillAndRead(bench, disk, job.diskBytes)
  const depth = depthOf(job, cell)
  const space = new SpaceMeter(bench)
  const options = { ...driveOptions(job, cell, context), depth, seconds }
  const operation = operationOf(job, bench, disk, depth)
  const run = (): Promise<Measured> => drive(operation, options)
  if (!context.profile) {
    return rowOf(job.name, { ...cell, depth }, job.ioBytes, await run(), space.read())
  }
  const { result, summary } = await profiled(run)
  return { ...rowOf(job.name, { ...cell, depth }, job.ioBytes, result, space.read()), profile: summary }
}

/** Each read has a buffer of its own, handed round: there are never more than `depth` under way. */
export function operationOf(
  job: IoJob,
  bench: BenchCluster,
  disk: VDisk,
  depth: number,
): (i: number) => Promise<void> {
  const random = seededRandom(11)
  const place = job.place(random, job.diskBytes / job.ioBytes)
  const targets = Array.from({ length: depth + 1 }, () => new Uint8Array(job.ioBytes))
  const readBelow = job.reads * 2 ** 32
  return (i) => {
    const offset = place(i) * job.ioBytes
    if (job.reads === 1 || (job.reads > 0 && random.u32() < readBelow)) {
      return disk.readInto(offset, targets[i % targets.length]!)
    }
    return disk.write(offset, bench.source.take(job.ioBytes))
  }
}

export async function fillAndRead(
  bench: BenchCluster,
  disk: VDisk,
  bytes: number,
  writeBytes?: number,
): Promise<void> {
  await bench.fill(disk, bytes, writeBytes)
  const target = new Uint8Array(MiB)
  for (let at = 0; at < bytes; at += MiB) await disk.readInto(at, target)
}

function driveOptions(
  job: IoJob,
  cell: Cell,
  context: BenchContext,
): Omit<DriveOptions, 'depth' | 'seconds'> {
  return {
    signal: context.signal,
    sampleEvery: cell.location === 'memory:' && job.ioBytes === 4 * KiB && job.reads === 1 ? 8 : 1,
    ...(job.reads === 1 ? {} : { operationsMax: WRITTEN_BYTES_MAX / job.ioBytes / (1 - job.reads) }),
    onRate: (rate) => context.progress.now(`${job.name} ${cell.location}: ${Math.round(rate)} IOPS`),
  }
}
