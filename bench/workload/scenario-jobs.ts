/**
 * Jobs with a story: a load runs, something happens to the cluster, and the row's note says what the load felt. Each runs
 * in the middle cell of a location.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Cluster, type ClusterSettings, KiB, MiB, type VDisk } from '../../src/index.ts'
import { readTrace } from '../../src/replay/read-trace.ts'
import { drive, type Measured } from '../shared/measure.ts'
import type { BenchContext } from '../shared/options.ts'
import { figure } from '../shared/table.ts'
import { BenchCluster, SPACE_UNKNOWN, SpaceMeter } from './bench-cluster.ts'
import type { Cell } from './cell.ts'
import { fillAndRead, type IoJob, ioJobs, operationOf } from './io-jobs.ts'
import { type Row, rowOf } from './row.ts'

export interface ScenarioJob {
  readonly name: string
  /** Why it cannot run with these options. */
  readonly skipped?: (context: BenchContext) => string | undefined
  run(cell: Cell, seconds: number, context: BenchContext): Promise<Row>
}

const IO_BYTES = 4 * KiB
const OLTP: IoJob = { ...ioJobs.find((job) => job.name === 'oltp-zipf')!, diskBytes: 64 * MiB }
const CLONES = 16
/** What a guest reads while it boots, and how it reads. */
const BOOT_BYTES = 16 * MiB
const BOOT_READ_BYTES = 64 * KiB
const BOOT_WRITE_EVERY = 16
/** A trace's largest IO; longer ones are cut. */
const TRACE_IO_BYTES_MAX = 1 * MiB

const bootStorm: ScenarioJob = {
  name: 'boot-storm',
  async run(cell, seconds, context) {
    await using bench = await BenchCluster.open(cell, context.dir)
    const { cluster } = bench
    const golden = await bench.disk('golden', 2 * BOOT_BYTES)
    await bench.fill(golden, 2 * BOOT_BYTES)
    await golden.snapshot('ready')
    const from = performance.now()
    const clones: VDisk[] = []
    for (let n = 0; n < CLONES; n++) {
      const node = cluster.nodes[n % cluster.nodes.length]!
      clones.push(
        await cluster.cloneVDisk('golden', `clone-${n}`, { snapshot: 'ready', vm: `boot-${n}`, node }),
      )
    }
    const cloneMs = (performance.now() - from) / CLONES
    const steps = BOOT_BYTES / BOOT_READ_BYTES
    const targets = Array.from({ length: cell.depth + 1 }, () => new Uint8Array(BOOT_READ_BYTES))
    const space = new SpaceMeter(bench)
    const measured = await drive(
      (i) => {
        const clone = clones[i % CLONES]!
        const step = Math.floor(i / CLONES) % steps
        if (step % BOOT_WRITE_EVERY === 7)
          return clone.write(step * BOOT_READ_BYTES, bench.source.take(IO_BYTES))
        return clone.readInto(step * BOOT_READ_BYTES, targets[i % targets.length]!)
      },
      { depth: cell.depth, seconds: 6 * seconds, operationsMax: CLONES * steps, signal: context.signal },
    )
    const done = measured.operations === CLONES * steps
    const booted = done
      ? `${CLONES} booted in ${figure(measured.seconds)} s`
      : 'cut off before all had booted'
    return rowOf(
      this.name,
      cell,
      BOOT_READ_BYTES,
      measured,
      space.read(),
      `${booted}; a clone took ${figure(cloneMs)} ms`,
    )
  },
}

const traceReplay: ScenarioJob = {
  name: 'trace-replay',
  skipped: (context) =>
    context.trace === undefined ? 'no trace: give --trace FILE or set HITHER_BENCH_TRACE' : undefined,
  async run(cell, seconds, context) {
    const trace = await readTrace(context.trace!)
    let blocks = 0
    for (let i = 0; i < trace.length; i++) blocks = Math.max(blocks, trace.start[i]! + trace.count[i]!)
    await using bench = await BenchCluster.open(cell, context.dir)
    await using disk = await bench.disk('disk', blocks * IO_BYTES)
    const targets = Array.from({ length: cell.depth + 1 }, () => new Uint8Array(TRACE_IO_BYTES_MAX))
    let bytes = 0
    const space = new SpaceMeter(bench)
    const measured = await drive(
      (i) => {
        const length = Math.min(trace.count[i]! * IO_BYTES, TRACE_IO_BYTES_MAX)
        const offset = Math.min(trace.start[i]!, blocks - length / IO_BYTES) * IO_BYTES
        bytes += length
        if (trace.write[i] === 1) return disk.write(offset, bench.source.take(length))
        return disk.readInto(offset, targets[i % targets.length]!.subarray(0, length))
      },
      { depth: cell.depth, seconds, operationsMax: trace.length, signal: context.signal },
    )
    const share = (100 * measured.operations) / trace.length
    return rowOf(
      this.name,
      cell,
      bytes / measured.operations,
      measured,
      space.read(),
      `${figure(share)} % of ${trace.length} requests, as fast as they go`,
    )
  },
}

/** A load of 70 % reads on one disk; `event` happens after a third of the time. */
function disturbed(
  name: string,
  settings: ClusterSettings,
  /** Whether every copy is still there at the end: else what is stored cannot be told from what is away. */
  keepsCopies: boolean,
  event: (cluster: Cluster, context: BenchContext) => Promise<string>,
): ScenarioJob {
  return {
    name,
    async run(cell, seconds, context) {
      await using bench = await BenchCluster.open(cell, context.dir, {
        cacheBytes: OLTP.cacheBytes,
        ...settings,
      })
      await using disk = await bench.disk('disk', OLTP.diskBytes)
      await fillAndRead(bench, disk, OLTP.diskBytes)
      const operation = operationOf(OLTP, bench, disk, cell.depth)
      const load = (loadSeconds: number, signal: AbortSignal): Promise<Measured> =>
        drive(operation, { depth: cell.depth, seconds: loadSeconds, signal, operationsMax: 100_000 })
      const calm = await load(seconds / 3, context.signal)
      const space = new SpaceMeter(bench)
      const happened = event(bench.cluster, context)
      const [measured, said] = await Promise.all([load(seconds, context.signal), happened])
      const worse = measured.latency.percentile(99) / calm.latency.percentile(99)
      const note = `longest pause ${figure(measured.latency.max / 1e6)} ms, p99 × ${figure(worse)}; ${said}`
      return rowOf(name, cell, IO_BYTES, measured, keepsCopies ? space.read() : SPACE_UNKNOWN, note)
    },
  }
}

const migration = disturbed('vm-migration', {}, true, async (cluster) => {
  await sleep(200)
  const before = cluster.stats().read
  const from = performance.now()
  await cluster.migrateVm('vm', { to: cluster.nodes[1]! })
  const took = performance.now() - from
  await sleep(500)
  const after = cluster.stats().read
  const remote = after.remoteBytes - before.remoteBytes
  const all = remote + after.localBytes - before.localBytes
  return `the move took ${figure(took)} ms, then ${figure((100 * remote) / all)} % of reads remote`
})

const failover = disturbed('failover', { holdDownMs: 500, leaseTtlMs: 2_000 }, false, async (cluster) => {
  await sleep(200)
  const node = cluster.nodes[0]!
  await cluster.failCvm(node)
  await sleep(800)
  await cluster.recoverCvm(node)
  return 'the CVM of the host killed, and started again'
})

const rebuild = disturbed(
  'rebuild',
  { rebuildDelayMs: 100, leaseTtlMs: 500 },
  false,
  async (cluster, context) => {
    const node = cluster.nodes[2]!
    await cluster.failCvm(node)
    await sleep(800, undefined, { signal: context.signal }).catch(() => undefined)
    const report = await cluster.runCurator()
    const rate = report.rebuiltBytes / 1e6 / (report.tookMs / 1_000)
    return `rebuilt ${figure(report.rebuiltBytes / MiB)} MiB at ${figure(rate)} MB/s`
  },
)

export const scenarioJobs: readonly ScenarioJob[] = [bootStorm, traceReplay, migration, failover, rebuild]
