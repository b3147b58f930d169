/** Goals 1 to 4: the engine over memory devices against what the packages alone can do. */
import { KiB } from '../../src/index.ts'
import type { BenchContext } from '../shared/options.ts'
import { type Contender, ratioOf, type Turns, takeTurns } from '../shared/turns.ts'
import type { Cell } from '../workload/cell.ts'
import { READ_4K_CACHED, READ_4K_DEVICE, WRITE_1M, WRITE_4K } from '../workload/io-jobs.ts'
import type { CheckGroup, CheckResult } from './check.ts'
import { filledEngine, steadyEngine, warmUp } from './engine.ts'
import { readLimit, writeLimit } from './pipeline-limit.ts'

const SECONDS = 0.6
const ROUNDS = 5
const CELL: Cell = { location: 'memory:', rf: 2, services: 'both', depth: 32, data: 'mixed' }
/** The goals say 4 µs and 2 µs, on the machine on which the limits take 11.6 and 5.3: as shares, they hold on any. */
const SERVICES_OFF_SHARE = 4 / 11.6
const CACHED_SHARE = 2 / 5.3

type MakeEngine = (seconds: number, context: BenchContext) => ReturnType<typeof steadyEngine>

const SMALL_WRITES: readonly MakeEngine[] = [
  (seconds, context) => steadyEngine('write 4k', WRITE_4K, CELL, seconds, context),
  (seconds, context) =>
    steadyEngine('write 4k, off', WRITE_4K, { ...CELL, services: 'none' }, seconds, context),
]
const LARGE_WRITES: readonly MakeEngine[] = [
  (seconds, context) => steadyEngine('write 1m', WRITE_1M, CELL, seconds, context, { packThreads: 0 }),
  (seconds, context) => steadyEngine('write 1m, all cores', WRITE_1M, CELL, seconds, context),
]
const READS: readonly MakeEngine[] = [
  (seconds, context) => filledEngine('cached', READ_4K_CACHED, CELL, seconds, context),
  (seconds, context) => filledEngine('device', READ_4K_DEVICE, CELL, seconds, context, 4 * KiB),
  (seconds, context) => filledEngine('32k slices', READ_4K_DEVICE, CELL, seconds, context),
]

/** Engines that take turns with a limit, and are gone before the next ones come: what else is open costs them all. */
async function besideLimit(
  engines: readonly MakeEngine[],
  limit: Contender,
  seconds: number,
  context: BenchContext,
): Promise<ReadonlyMap<string, Turns>> {
  const open: AsyncDisposable[] = []
  const contenders = [limit]
  try {
    for (const make of engines) {
      const { bench, contender } = await make(seconds, context)
      open.push(bench)
      contenders.push(contender)
    }
    for (const contender of contenders) await warmUp(contender, context)
    const rounds = ROUNDS * (context.long ? 3 : 1)
    return await takeTurns(contenders, rounds, context.signal, (what) =>
      context.progress.now(`compare pipeline, ${what}`),
    )
  } finally {
    for (const bench of open) await bench[Symbol.asyncDispose]()
  }
}

export const pipelineGroup: CheckGroup = {
  name: 'pipeline',
  async run(context: BenchContext): Promise<CheckResult[]> {
    const seconds = context.seconds ?? SECONDS
    const small = writeLimit('limit 4k', 4 * KiB, CELL.data, seconds)
    const large = writeLimit('limit 64k', 64 * KiB, CELL.data, seconds)
    const turns = new Map([
      ...(await besideLimit(SMALL_WRITES, small, seconds, context)),
      ...(await besideLimit(LARGE_WRITES, large, seconds, context)),
      ...(await besideLimit(READS, readLimit('read limit', CELL.data, seconds), seconds, context)),
    ])
    const limit = 'hash + LZ4 + copy + checksum of the packages, alone'
    const readBack = 'checksum + LZ4 + copy of the packages, alone'
    return [
      {
        id: '1-write-4k',
        what: '4 KiB random write, memory, RF2, all on, QD32, mixed: blocks per CPU time',
        against: limit,
        better: 'more',
        goal: 1.2,
        ratio: 1 / ratioOf(turns, 'write 4k', 'limit 4k', 'cpu'),
      },
      {
        id: '2-write-1m-one-thread',
        what: '1 MiB sequential write, the same: bytes per CPU time',
        against: `${limit}, at 64 KiB`,
        better: 'more',
        goal: 0.9,
        ratio: 1 / ratioOf(turns, 'write 1m', 'limit 64k', 'cpu-per-byte'),
      },
      {
        id: '2-write-1m-all-cores',
        what: '1 MiB sequential write, the same: bytes per second',
        against: `${limit}, at 64 KiB, one thread`,
        better: 'more',
        goal: 1.5,
        ratio: ratioOf(turns, 'write 1m, all cores', 'limit 64k', 'bandwidth'),
      },
      {
        id: '3-write-4k-off',
        what: '4 KiB random write, memory, RF2, all off, QD32: CPU time per write',
        against: `${limit}, time per block`,
        better: 'less',
        goal: SERVICES_OFF_SHARE,
        ratio: ratioOf(turns, 'write 4k, off', 'limit 4k', 'cpu'),
      },
      {
        id: '4-read-4k-cached',
        what: '4 KiB random read, cached: CPU time per read',
        against: `${readBack}, time per block`,
        better: 'less',
        goal: CACHED_SHARE,
        ratio: ratioOf(turns, 'cached', 'read limit', 'cpu'),
      },
      {
        id: '4-read-4k-device',
        what: '4 KiB random read, from memory devices, of data written in 4 KiB: blocks per CPU time',
        against: readBack,
        better: 'more',
        goal: 0.8,
        ratio: 1 / ratioOf(turns, 'device', 'read limit', 'cpu'),
      },
      {
        id: '4-read-4k-of-32k',
        what: 'the same of data written in 64 KiB: each read decompresses 32 KiB',
        against: readBack,
        better: 'more',
        ratio: 1 / ratioOf(turns, '32k slices', 'read limit', 'cpu'),
      },
    ]
  },
}
