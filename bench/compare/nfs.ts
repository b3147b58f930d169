/**
 * The NFS door beside NFS-Ganesha, with the same client: `memory:` against FSAL_MEM, which keeps no data at all, so that
 * only its protocol is measured; `file:` against FSAL_VFS, which writes to the page cache, and syncs what is asked to be
 * FILE_SYNC. hither has four nodes in its one process, RF2, everything on, and every write is durable in both copies.
 */
import { spawnSync } from 'node:child_process'
import { KiB, MiB } from '../../src/index.ts'
import type { BenchContext } from '../shared/options.ts'
import { scratchFolder } from '../shared/scratch.ts'
import { inTurns, median } from '../shared/turns.ts'
import type { CheckGroup, CheckResult } from './check.ts'
import { missingPrograms } from './nbd-servers.ts'
import { type NfsJob, NfsLoad, type NfsTurn } from './nfs-load.ts'
import {
  GANESHA_MEM,
  GANESHA_PROGRAMS,
  GANESHA_VFS,
  HITHER_FILE,
  HITHER_MEMORY,
  type NfsServerKind,
  RunningNfsServer,
} from './nfs-servers.ts'

const SECONDS = 0.3
const ROUNDS = 3
const SIZES = [
  ['4k', 4 * KiB, '4 KiB random'],
  ['64k', 64 * KiB, '64 KiB sequential'],
  ['1m', MiB, '1 MiB sequential'],
] as const
const DEPTHS = [1, 32]
const PAIRS = [
  { ours: HITHER_MEMORY, theirs: GANESHA_MEM, id: 'mem', kinds: ['write', 'read'] },
  { ours: HITHER_FILE, theirs: GANESHA_VFS, id: 'vfs', kinds: ['write', 'sync', 'read'] },
] as const
const CALLS = { write: 'UNSTABLE write', sync: 'FILE_SYNC write', read: 'read' } as const

interface NamedJob extends NfsJob {
  readonly name: string
  readonly says: string
}

export const nfsGroup: CheckGroup = {
  name: 'nfs',
  skipped() {
    const missing = missingPrograms(GANESHA_PROGRAMS)
    if (missing.length > 0) return `${missing.join(', ')} not installed`
    const may = spawnSync('unshare', ['-mnp', '--fork', 'true'], { stdio: 'ignore' }).status === 0
    return may ? undefined : 'no right to make the namespaces that ganesha runs in'
  },

  async run(context: BenchContext): Promise<CheckResult[]> {
    await using folder = await scratchFolder(context.dir)
    const load = await NfsLoad.compile(folder.path, context.signal)
    const results: CheckResult[] = []
    for (const pair of PAIRS) results.push(...(await comparePair(pair, load, context)))
    return results
  },
}

async function comparePair(
  { ours, theirs, id, kinds }: (typeof PAIRS)[number],
  load: NfsLoad,
  context: BenchContext,
): Promise<CheckResult[]> {
  await using our = await startFilled(ours, load, context)
  await using their = await startFilled(theirs, load, context)
  const results: CheckResult[] = []
  for (const job of jobsOf(kinds)) {
    const players = [our, their].map(({ name, address }) => ({
      name,
      round: () => load.measure(address, job, context.seconds ?? SECONDS),
    }))
    const turns = await inTurns(players, ROUNDS * (context.long ? 3 : 1), context.signal, (what) =>
      context.progress.now(`compare nfs, ${job.name}, ${what}`),
    )
    const ourTurns = turns.get(our.name)!
    const theirTurns = turns.get(their.name)!
    results.push({
      id: `12-${job.name}-${id}`,
      what: `NFS, ${ours.name.split(' ')[1]} RF2, all on, durable: ${job.says}`,
      against: theirs.name,
      better: 'more',
      ratio: rateOf(ourTurns) / rateOf(theirTurns),
      note: `client busy ${busyOf(ourTurns)} and ${busyOf(theirTurns)}`,
    })
  }
  return results
}

function jobsOf(kinds: ReadonlyArray<NfsJob['what']>): NamedJob[] {
  return SIZES.flatMap(([size, blockBytes, sizeSays]) =>
    kinds.flatMap((what) =>
      DEPTHS.map((depth) => ({
        ...{ what, blockBytes, depth, name: `${what}-${size}-qd${depth}` },
        says: `${sizeSays} ${CALLS[what]}, QD${depth}`,
      })),
    ),
  )
}

function startFilled(kind: NfsServerKind, load: NfsLoad, context: BenchContext): Promise<RunningNfsServer> {
  context.progress.now(`compare nfs: ${kind.name} starts`)
  return RunningNfsServer.start(kind, context.dir, (address) => load.fill(address))
}

/** Operations a second. */
function rateOf(turns: readonly NfsTurn[]): number {
  return median(turns.map(({ operations, seconds }) => operations / seconds))
}

/** Share of a core that the client took. */
function busyOf(turns: readonly NfsTurn[]): string {
  return `${Math.round(100 * median(turns.map(({ cpuSeconds, seconds }) => cpuSeconds / seconds)))} %`
}
