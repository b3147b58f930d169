/** Goal 6: the NBD door on files, RF2, everything on, durable, under fio, against NBD servers of others. */
import { KiB, MiB } from '../../src/index.ts'
import type { BenchContext } from '../shared/options.ts'
import { scratchFolder } from '../shared/scratch.ts'
import { inTurns, median } from '../shared/turns.ts'
import type { CheckGroup, CheckResult } from './check.ts'
import { type FioJob, fioRate } from './fio.ts'
import { HITHER, missingPrograms, OTHERS, QEMU_RAW, RunningServer, type ServerKind } from './nbd-servers.ts'

const SECONDS = 1
const ROUNDS = 3

interface NbdJob extends FioJob {
  readonly what: string
  readonly goal: number
}

/** In this order: reads come after the disk was written, and random ones when all was read, as the page cache of others has it. */
const JOBS: readonly NbdJob[] = [
  job('write-1m', '1 MiB sequential write, QD8', 'write', MiB, 8, 0.5),
  job('write-4k', '4 KiB random write, QD32', 'randwrite', 4 * KiB, 32, 1.5),
  { ...job('sync-4k', '4 KiB random write with fsync, QD1', 'randwrite', 4 * KiB, 1, 1), synced: true },
  job('read-1m', '1 MiB sequential read, QD8', 'read', MiB, 8, 0.8),
  job('read-4k', '4 KiB random read, QD32', 'randread', 4 * KiB, 32, 2),
]

export const nbdGroup: CheckGroup = {
  name: 'nbd',
  skipped() {
    const missing = missingPrograms(['fio', ...QEMU_RAW.programs])
    return missing.length > 0 ? `${missing.join(', ')} not installed` : undefined
  },

  async run(context: BenchContext): Promise<CheckResult[]> {
    // Those without a goal only with --long: each job of each takes a second and a half a turn.
    const others = context.long ? OTHERS.filter((kind) => isThere(kind, context)) : []
    const kinds = [HITHER, QEMU_RAW, ...others]
    const servers: RunningServer[] = []
    let rates: Awaited<ReturnType<typeof measureAll>>
    try {
      for (const kind of kinds) servers.push(await RunningServer.start(kind, context.dir))
      rates = await measureAll(servers, context)
    } finally {
      for (const server of servers) await server[Symbol.asyncDispose]()
    }
    const rate = (name: string, server: string): number => median(rates.get(name)!.get(server)!)
    return JOBS.flatMap(({ name, what, goal }) =>
      kinds.slice(1).map(
        (kind): CheckResult => ({
          id: `6-${name}-${kind.name.replaceAll(/[ ,]+/g, '-')}`.toLowerCase(),
          what: `NBD on files, RF2, all on, durable: ${what}`,
          against: kind.name,
          better: 'more',
          ...(kind === QEMU_RAW ? { goal } : {}),
          ratio: rate(name, HITHER.name) / rate(name, kind.name),
        }),
      ),
    )
  },
}

/** In turns: operations a second, by job and server. */
async function measureAll(
  servers: readonly RunningServer[],
  context: BenchContext,
): Promise<ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>> {
  await using folder = await scratchFolder(context.dir)
  const seconds = context.seconds ?? SECONDS
  const rates = new Map<string, ReadonlyMap<string, readonly number[]>>()
  for (const fioJob of JOBS) {
    const players = servers.map(({ name, uri }) => ({
      name,
      round: () => fioRate(uri, fioJob, seconds, folder.path, context.signal),
    }))
    const turns = await inTurns(players, ROUNDS * (context.long ? 3 : 1), context.signal, (what) =>
      context.progress.now(`compare nbd, ${fioJob.name}, ${what}`),
    )
    rates.set(fioJob.name, turns)
  }
  return rates
}

function job(
  name: string,
  what: string,
  rw: FioJob['rw'],
  blockBytes: number,
  depth: number,
  goal: number,
): NbdJob {
  return { name, what, rw, blockBytes, depth, goal, synced: false }
}

function isThere(kind: ServerKind, context: BenchContext): boolean {
  const missing = missingPrograms(kind.programs)
  if (missing.length > 0)
    context.progress.line(`compare: ${kind.name} skipped, ${missing.join(', ')} not installed`)
  return missing.length === 0
}
