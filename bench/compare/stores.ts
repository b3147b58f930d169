/** Goal 7: a block store inside a Node process, durable, RF1 and RF2 with everything on, against stores of others. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { KiB, MiB } from '../../src/index.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { DataSource } from '../shared/data.ts'
import { drive } from '../shared/measure.ts'
import type { BenchContext } from '../shared/options.ts'
import { scratchFolder } from '../shared/scratch.ts'
import { type Contender, ratioOf, takeTurns } from '../shared/turns.ts'
import { BenchCluster } from '../workload/bench-cluster.ts'
import { AppendStore, type BlockStore, hitherStore, levelStore, lmdbStore } from './block-store.ts'
import type { CheckGroup, CheckResult } from './check.ts'

const SECONDS = 0.25
const ROUNDS = 3
/** Fits the caches of all of them: 64 MiB in LevelDB, as much or more in hither, the page cache for LMDB. */
const DISK_BYTES = 32 * MiB
const APPEND_FILE_BYTES = 128 * MiB
const RIVALS = ['lmdb', 'classic-level'] as const

interface StoreJob {
  readonly name: string
  readonly ioBytes: number
  readonly depth: number
  readonly kind: 'write' | 'read'
  readonly random: boolean
  readonly goal: number
}

const JOBS: readonly StoreJob[] = [
  { name: 'write-4k-qd1', ioBytes: 4 * KiB, depth: 1, kind: 'write', random: true, goal: 1 },
  { name: 'write-4k-qd32', ioBytes: 4 * KiB, depth: 32, kind: 'write', random: true, goal: 5 },
  { name: 'write-64k', ioBytes: 64 * KiB, depth: 8, kind: 'write', random: false, goal: 1 },
  { name: 'read-4k', ioBytes: 4 * KiB, depth: 32, kind: 'read', random: true, goal: 1.5 },
  { name: 'read-64k', ioBytes: 64 * KiB, depth: 8, kind: 'read', random: false, goal: 1 },
]

export const storesGroup: CheckGroup = {
  name: 'stores',
  skipped: (context) => installRivals(context),

  async run(context: BenchContext): Promise<CheckResult[]> {
    const results: CheckResult[] = []
    await using folder = await scratchFolder(context.dir)
    const cell = { location: 'file:', services: 'both', data: 'mixed' } as const
    await using one = await BenchCluster.open({ ...cell, rf: 1 }, context.dir)
    await using two = await BenchCluster.open({ ...cell, rf: 2 }, context.dir)
    for (const job of JOBS) {
      if (context.signal.aborted) break
      // A store of its own for each size of IO, as its blocks are its keys; new for each job, so that all start alike.
      await using place = await scratchFolder(folder.path)
      const disks = [
        hitherStore('hither RF1', await one.disk(job.name, DISK_BYTES)),
        hitherStore('hither RF2', await two.disk(job.name, DISK_BYTES)),
      ]
      const stores = [...disks, lmdbStore(place.path), await levelStore(place.path)]
      if (job.kind === 'write') {
        for (const copies of [1, 2])
          stores.push(await AppendStore.open(place.path, APPEND_FILE_BYTES, { copies }))
      }
      results.push(...(await compare(job, stores, context)))
      for (const store of stores) await store.close()
    }
    return results
  },
}

async function compare(
  job: StoreJob,
  stores: readonly BlockStore[],
  context: BenchContext,
): Promise<CheckResult[]> {
  for (const store of stores) if (job.kind === 'read') await fill(store, job.ioBytes)
  const seconds = context.seconds ?? SECONDS
  const contenders = stores.map((store) => contenderOf(job, store, seconds, context.signal))
  const rounds = ROUNDS * (context.long ? 3 : 1)
  const turns = await takeTurns(contenders, rounds, context.signal, (what) =>
    context.progress.now(`compare stores, ${job.name}, ${what}`),
  )
  const limits = stores.filter((store) => store instanceof AppendStore)
  const results: CheckResult[] = []
  for (const [ours, copies] of [
    ['hither RF1', 1],
    ['hither RF2', 2],
  ] as const) {
    const what = `${job.name.replaceAll('-', ' ')}${job.kind === 'write' ? ', durable' : ', cached'}, ${ours}: per second`
    const id = `7-${job.name}-rf${copies}`
    const ratioTo = ({ name }: BlockStore): number => ratioOf(turns, ours, name, 'rate')
    const ownLimit = limits.find((limit) => limit.copies === copies)
    for (const store of stores) {
      if (store.name.startsWith('hither') || store instanceof AppendStore) continue
      const note =
        ownLimit &&
        `appends of as many copies: ${ratioOf(turns, ownLimit.name, store.name, 'rate').toPrecision(2)}`
      results.push({
        ...{ id: `${id}-${store.name}`, what, against: store.name, better: 'more', goal: job.goal },
        ...(note === undefined ? {} : { note }),
        ratio: ratioTo(store),
      })
    }
    for (const limit of limits) {
      if (limit.copies > copies) continue
      const suffix = limit.copies > 1 ? `append-${limit.copies}` : 'append'
      results.push({
        id: `${id}-${suffix}`,
        what,
        against: limit.name,
        better: 'more',
        ratio: ratioTo(limit),
      })
    }
  }
  return results
}

function contenderOf(job: StoreJob, store: BlockStore, seconds: number, signal: AbortSignal): Contender {
  const source = new DataSource('mixed')
  const random = seededRandom(5)
  const units = DISK_BYTES / job.ioBytes
  const targets = Array.from({ length: job.depth + 1 }, () => new Uint8Array(job.ioBytes))
  let step = 0
  const operation = (i: number): Promise<unknown> => {
    const offset = (job.random ? random.below(units) : step++ % units) * job.ioBytes
    if (job.kind === 'write') return store.put(offset, source.take(job.ioBytes))
    return store.get(offset, targets[i % targets.length]!)
  }
  return {
    name: store.name,
    bytes: job.ioBytes,
    round: () => drive(operation, { depth: job.depth, seconds, signal }),
  }
}

async function fill(store: BlockStore, ioBytes: number): Promise<void> {
  const source = new DataSource('mixed')
  const target = new Uint8Array(ioBytes)
  const together = 64
  for (let at = 0; at < DISK_BYTES; at += together * ioBytes) {
    const puts: Array<Promise<unknown>> = []
    for (let n = 0; n < together && at + n * ioBytes < DISK_BYTES; n++) {
      puts.push(store.put(at + n * ioBytes, source.take(ioBytes)))
    }
    await Promise.all(puts)
  }
  for (let at = 0; at < DISK_BYTES; at += ioBytes) await store.get(at, target)
}

/** They have a package.json of their own beside this file. Answers why they are not there. */
function installRivals(context: BenchContext): string | undefined {
  const there = RIVALS.every((name) => existsSync(join(import.meta.dirname, 'node_modules', name)))
  if (there) return undefined
  context.progress.line(`compare: installing ${RIVALS.join(' and ')} (npm ci in bench/compare)`)
  const npm = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: import.meta.dirname,
    encoding: 'utf8',
  })
  return npm.status === 0
    ? undefined
    : `npm ci in bench/compare failed: ${npm.stderr.trim().split('\n').at(-1)}`
}
