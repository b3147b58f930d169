/** Goals 9 and 10: what background work does to a guest, how fast a rebuild is, and what idleness costs. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Cluster, type ClusterSettings, MiB } from '../../src/index.ts'
import { DataSource } from '../shared/data.ts'
import { drive } from '../shared/measure.ts'
import type { BenchContext } from '../shared/options.ts'
import { scratchFolder } from '../shared/scratch.ts'
import { BenchCluster } from '../workload/bench-cluster.ts'
import { measureIdle } from '../workload/idle.ts'
import { fillAndRead, type IoJob, ioJobs, operationOf } from '../workload/io-jobs.ts'
import { AppendStore } from './block-store.ts'
import type { CheckGroup, CheckResult } from './check.ts'

const SECONDS = 2
const IDLE_SECONDS = 3
const DEPTH = 8
const CELL = { location: 'file:', rf: 2, services: 'both', data: 'mixed' } as const
const LOAD: IoJob = {
  ...ioJobs.find(({ name }) => name === 'mix-70-30')!,
  diskBytes: 96 * MiB,
  cacheBytes: 8 * MiB,
}
/** More than a disk takes in the time for which it is measured. */
const FRESH_BYTES_MAX = 16_384 * MiB
/** A dead CVM is noticed, and its lease over, after this. */
const LEASE_MS = 500
const AGAINST = 'the same load alone'
const WHAT = `p99 of 4 KiB IO, 70 % reads, file, RF2, QD${DEPTH}`

type Event = 'rebuild' | 'reclaim' | 'localisation'

const TOLD: Readonly<Record<Event, string>> = {
  rebuild: 'while copies of a dead node are rebuilt',
  reclaim: 'while a scan reclaims and compacts overwritten data',
  localisation: 'while the data of a VM that moved follows it',
}

export const backgroundGroup: CheckGroup = {
  name: 'background',
  async run(context: BenchContext): Promise<CheckResult[]> {
    const results: CheckResult[] = []
    let following = Number.NaN
    for (const event of Object.keys(TOLD) as Event[]) {
      if (context.signal.aborted) return results
      context.progress.now(`compare background, ${event}`)
      const { alone, beside } = await guestP99(event, context)
      if (event === 'localisation') following = beside
      results.push({
        id: `9-p99-${event}`,
        what: `${WHAT}, ${TOLD[event]}`,
        against: AGAINST,
        better: 'less',
        goal: 1.5,
        ratio: beside / alone,
      })
    }
    if (context.signal.aborted) return results
    context.progress.now('compare background, moved and not followed')
    const { beside } = await guestP99('localisation', context, { localityPolicy: 'never' })
    results.push({
      id: '9-p99-copying',
      what: `${WHAT}, ${TOLD.localisation}`,
      against: 'the same load after the move when nothing is copied',
      better: 'less',
      goal: 1.5,
      ratio: following / beside,
    })
    if (context.signal.aborted) return results
    context.progress.now('compare background, rebuild alone')
    const rebuilt = await rebuildRate(context)
    for (const isFresh of [false, true]) {
      const id = isFresh ? '9-rebuild-rate-fresh' : '9-rebuild-rate'
      const space = isFresh ? 'in space that was never written, as that of the rebuild' : 'over what is there'
      results.push({
        id,
        what: 'rebuild with nothing else running: bytes per second',
        against: `1 MiB appends with fdatasync on the same disk, ${space}`,
        better: 'more',
        goal: 0.5,
        ratio: rebuilt.rate / (await appendRate(isFresh, context)),
        note: `${Math.round(rebuilt.bytes / MiB)} MiB rebuilt`,
      })
    }
    return results
  },
}

export const idleGroup: CheckGroup = {
  name: 'idle',
  async run(context: BenchContext): Promise<CheckResult[]> {
    context.progress.now('compare idle')
    const seconds = context.seconds ?? IDLE_SECONDS * (context.long ? 5 : 1)
    const idle = await measureIdle('memory:', seconds, context.dir, context.signal)
    return [
      {
        id: '10-idle-cpu',
        what: 'CPU time of four running nodes without IO',
        against: 'one core',
        better: 'less',
        goal: 0.005,
        ratio: idle.cpuShare,
        note: `${Math.round(idle.timersPerSecond)} timers, ${Math.round(idle.immediatesPerSecond)} immediates a second`,
      },
    ]
  },
}

/** p99 of the load just before the event, and beside it. */
async function guestP99(
  event: Event,
  context: BenchContext,
  extra: ClusterSettings = {},
): Promise<{ readonly alone: number; readonly beside: number }> {
  const settings = { rebuildDelayMs: 100, leaseTtlMs: LEASE_MS, cacheBytes: LOAD.cacheBytes, ...extra }
  await using bench = await BenchCluster.open(CELL, context.dir, settings)
  await using disk = await bench.disk('disk', LOAD.diskBytes)
  await fillAndRead(bench, disk, LOAD.diskBytes)
  // Something to reclaim.
  if (event === 'reclaim') await bench.fill(disk, LOAD.diskBytes / 2)
  const seconds = context.seconds ?? SECONDS
  const operation = operationOf(LOAD, bench, disk, DEPTH)
  const load = { depth: DEPTH, seconds, signal: context.signal }
  const { cluster } = bench
  await drive(operation, { ...load, seconds: seconds / 2 })
  if (event === 'localisation') {
    // There and back: what serves a VM that has moved is compiled before it is measured, as what serves one that has not.
    for (const node of [cluster.nodes[2]!, cluster.nodes[0]!]) {
      await cluster.migrateVm('vm', { to: node })
      // Long enough for most of the data to be there.
      await drive(operation, { ...load, seconds: 2 * seconds })
    }
  }
  const alone = await drive(operation, load)
  if (event === 'rebuild') {
    await cluster.failCvm(cluster.nodes[2]!)
    await sleep(2 * LEASE_MS)
  }
  if (event === 'localisation') await cluster.migrateVm('vm', { to: cluster.nodes[1]! })
  // The load goes on for as long as the work takes, but not much longer than usual.
  const stop = new AbortController()
  const work = event === 'localisation' ? sleep(seconds * 1_000) : cluster.runCurator()
  const loaded = drive(operation, {
    ...load,
    seconds: 4 * seconds,
    signal: AbortSignal.any([context.signal, stop.signal]),
  })
  await work
  stop.abort()
  return { alone: alone.latency.percentile(99), beside: (await loaded).latency.percentile(99) }
}

/** Bytes rebuilt, and bytes a second. */
async function rebuildRate(
  context: BenchContext,
): Promise<{ readonly bytes: number; readonly rate: number }> {
  await using bench = await BenchCluster.open({ ...CELL, data: 'random' }, context.dir, {
    rebuildDelayMs: 100,
    leaseTtlMs: LEASE_MS,
  })
  // The first egroups have memory touched that all others use again.
  const bytes = (context.long ? 3_072 : 768) * MiB
  await using disk = await bench.disk('disk', bytes)
  await bench.fill(disk, bytes)
  const { cluster } = bench
  await cluster.failCvm(cluster.nodes[2]!)
  await sleep(2 * LEASE_MS)
  // The time of the rebuild alone: a scan on request also marks, and scrubs all there is.
  const told = rebuiltEvent(cluster, context.signal)
  const { rebuiltEgroups } = await cluster.runCurator()
  if (rebuiltEgroups === 0) throw new Error('nothing was rebuilt')
  const { bytes: rebuiltBytes, tookMs } = await told
  return { bytes: rebuiltBytes, rate: rebuiltBytes / (tookMs / 1_000) }
}

async function rebuiltEvent(
  cluster: Cluster,
  signal: AbortSignal,
): Promise<{ readonly bytes: number; readonly tookMs: number }> {
  for await (const event of cluster.events({ signal })) if (event.type === 'rebuilt') return event
  throw new Error('the cluster was closed before it told of its rebuild')
}

/** Bytes a second. @param isFresh the file grows; else it has been written before */
async function appendRate(isFresh: boolean, context: BenchContext): Promise<number> {
  await using folder = await scratchFolder(context.dir)
  const store = await AppendStore.open(folder.path, isFresh ? FRESH_BYTES_MAX : 128 * MiB, { isFresh })
  const source = new DataSource('random')
  const bytes = MiB
  const { operations, seconds: took } = await drive(() => store.put(0, source.take(bytes)), {
    depth: 1,
    seconds: (context.seconds ?? SECONDS) / 2,
  })
  await store.close()
  return (operations * bytes) / took
}
