/**
 * Goal 8: what an IO costs as a store grows. The large store is written with duplicates, whose data is stored once and
 * whose map is a real one; by default it is small, `--long` takes the sizes of the goal as far as memory goes.
 */
import { keys } from '../../src/cluster/records.ts'
import { CandidateIndex } from '../../src/dedupe/candidate-index.ts'
import { GiB, KiB, MiB, openCluster, type VDisk } from '../../src/index.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { EgroupTable } from '../../src/replication/egroup-table.ts'
import { DataSource } from '../shared/data.ts'
import { drive } from '../shared/measure.ts'
import type { BenchContext } from '../shared/options.ts'
import { scratchFolder } from '../shared/scratch.ts'
import { type Contender, ratioOf, takeTurns } from '../shared/turns.ts'
import { BenchCluster } from '../workload/bench-cluster.ts'
import type { CheckGroup, CheckResult } from './check.ts'

const SECONDS = 0.4
/** With `--long`: of a large disk, thousands of writes between two checkpoints, and a checkpoint of thousands of pages, in a turn. */
const SECONDS_LONG = 2
const ROUNDS = 3
const IO_BYTES = 4 * KiB
const DEPTH = 32
const CELL = { location: 'memory:', rf: 2, services: 'both', data: 'mixed' } as const
const FINGERPRINTS = 2_000_000
const INDEX_BYTES = 24 * MiB
const GROUPS = 500_000
/** The least that can be set, and a disk whose map has four times as much: 2 KiB for each MiB. */
const MAP_BUDGET_BYTES = 1 * MiB
const MAP_DISK_BYTES = 2 * GiB
/** Each of many vDisks has egroups open, with room for all that they may get. The devices take no memory for it. */
const SSD_BYTES = 64 * GiB

export const growthGroup: CheckGroup = {
  name: 'growth',
  async run(context: BenchContext): Promise<CheckResult[]> {
    const [small, large] = context.long ? [1 * GiB, 100 * GiB] : [64 * MiB, 1 * GiB]
    const [few, many] = context.long ? [10, 10_000] : [10, 300]
    const bySize = await compareStores(
      'size',
      context,
      [DEPTH],
      [
        await storeOf(context, [small], (bytes) =>
          context.progress.now(`compare growth, writing ${bytes >> 20} MiB`),
        ),
        await storeOf(context, [large], (bytes) =>
          context.progress.now(`compare growth, writing ${Math.round(bytes / MiB)} of ${large / MiB} MiB`),
        ),
      ],
    )
    const disks = (count: number): number[] => Array.from({ length: count }, () => 4 * MiB)
    const byDisks = await compareStores(
      'disks',
      context,
      [DEPTH, 1],
      [
        await storeOf(context, disks(few), () => {}),
        await storeOf(context, disks(many), () => context.progress.now(`compare growth, ${many} disks`)),
      ],
    )
    return [
      {
        id: '8-size',
        what: `CPU time of a 4 KiB random write in a disk with ${large / MiB} MiB written`,
        against: `${small / MiB} MiB written`,
        better: 'less',
        goal: 1.3,
        ratio: bySize.get(DEPTH)!,
      },
      {
        id: '8-disks',
        what: `CPU time of a 4 KiB random write with ${many} vDisks, 32 under way`,
        against: `${few} vDisks`,
        better: 'less',
        goal: 1.3,
        ratio: byDisks.get(DEPTH)!,
      },
      {
        id: '8-disks-qd1',
        what: `the same with ${many} vDisks, one write at a time: no frame has two writes, of however few disks`,
        against: `${few} vDisks`,
        better: 'less',
        goal: 1.3,
        ratio: byDisks.get(1)!,
      },
      {
        id: '8-fingerprint-bytes',
        what: 'memory for each fingerprint kept, of an index that is at its budget',
        against: '1 byte',
        better: 'less',
        goal: 16,
        exact: true,
        ratio: bytesPerFingerprint(),
      },
      {
        id: '8-group-bytes',
        what: 'memory for each egroup that a CVM knows of',
        against: '1 byte',
        better: 'less',
        goal: 64,
        exact: true,
        ratio: bytesPerGroup(),
      },
      {
        id: '8-map-bytes',
        what: 'memory for map pages, of a map of four times its budget that was read all over',
        against: 'the budget',
        better: 'less',
        goal: 1,
        exact: true,
        ratio: await mapOfItsBudget(context),
      },
      {
        id: '8-open',
        what: `opening a store on files with ${large / MiB} MiB written`,
        against: '1 second',
        better: 'less',
        goal: 2,
        ratio: await secondsToOpen(context, large),
      },
    ]
  },
}

interface Store {
  readonly bench: BenchCluster
  readonly disks: readonly VDisk[]
  readonly diskBytes: number
}

async function storeOf(
  context: BenchContext,
  sizes: readonly number[],
  tell: (writtenBytes: number) => void,
): Promise<Store> {
  const bench = await BenchCluster.open(CELL, context.dir, { ssdBytes: SSD_BYTES })
  const disks: VDisk[] = []
  for (const [index, size] of sizes.entries()) {
    const disk = await bench.disk(`disk-${index}`, size)
    disks.push(disk)
    await writeDuplicates(disk, size, context.signal, tell)
  }
  return { bench, disks, diskBytes: sizes[0]! }
}

/** Every block of the disk has an entry in the map, and is a duplicate of one of 256. */
async function writeDuplicates(
  disk: VDisk,
  size: number,
  signal: AbortSignal,
  tell: (writtenBytes: number) => void,
): Promise<void> {
  const piece = new DataSource('mixed').take(MiB).slice()
  for (let at = 0; at < size && !signal.aborted; at += MiB) {
    if (at % (64 * MiB) === 0) tell(at)
    await disk.write(at, piece.subarray(0, Math.min(MiB, size - at)))
  }
}

/** CPU time of the second store ÷ that of the first, by depth. Closes both. */
async function compareStores(
  what: string,
  context: BenchContext,
  depths: readonly number[],
  [small, large]: readonly [Store, Store],
): Promise<ReadonlyMap<number, number>> {
  const contenders = depths.flatMap((depth) => [
    contenderOf(`small at ${depth}`, small, depth, context),
    contenderOf(`large at ${depth}`, large, depth, context),
  ])
  const turns = await takeTurns(contenders, ROUNDS, context.signal, (turn) =>
    context.progress.now(`compare growth by ${what}, ${turn}`),
  )
  for (const { bench } of [small, large]) await bench[Symbol.asyncDispose]()
  return new Map(
    depths.map((depth) => [depth, ratioOf(turns, `large at ${depth}`, `small at ${depth}`, 'cpu')]),
  )
}

function contenderOf(
  name: string,
  { bench, disks, diskBytes }: Store,
  depth: number,
  context: BenchContext,
): Contender {
  const random = seededRandom(13)
  const seconds = context.seconds ?? (context.long ? SECONDS_LONG : SECONDS)
  return {
    name,
    bytes: IO_BYTES,
    round: () =>
      drive(
        () => {
          const disk = disks[random.below(disks.length)]!
          return disk.write(random.below(diskBytes / IO_BYTES) * IO_BYTES, bench.source.take(IO_BYTES))
        },
        { depth, seconds, clock: 'cpu', signal: context.signal },
      ),
  }
}

function bytesPerFingerprint(): number {
  const index = new CandidateIndex(INDEX_BYTES)
  const random = seededRandom(17)
  for (let i = 0; i < FINGERPRINTS; i++) index.insert(random.u32(), random.u32(), 1 + (i >>> 10), i & 0x3ff)
  return index.sizeBytes / index.count
}

/** Of a table just after it has grown: never is more of it empty. */
function bytesPerGroup(): number {
  const table = new EgroupTable()
  const copies = [
    { node: 'node-1', tier: 'ssd' as const },
    { node: 'node-2', tier: 'hdd' as const },
  ]
  const fields = { stream: 1, order: 1, state: 'sealed', length: 4 * MiB, generation: 1, rf: 2 } as const
  let most = 0
  for (let egroup = 1; egroup <= GROUPS; egroup++) {
    const moved = egroup % 2 === 0 ? { movedAt: egroup } : {}
    table.set(keys.egroup(egroup), { value: { ...fields, ...moved, copies }, revision: egroup })
    if (egroup > GROUPS / 10) most = Math.max(most, table.sizeBytes / table.size)
  }
  return most
}

async function mapOfItsBudget(context: BenchContext): Promise<number> {
  const bench = await BenchCluster.open(CELL, context.dir, {
    ssdBytes: SSD_BYTES,
    mapBytes: MAP_BUDGET_BYTES,
  })
  try {
    const disk = await bench.disk('disk', MAP_DISK_BYTES)
    await writeDuplicates(disk, MAP_DISK_BYTES, context.signal, () =>
      context.progress.now('compare growth, a map larger than its budget'),
    )
    // A checkpoint: what has not been stored yet is beside the budget.
    await disk.snapshot('snapshot')
    const target = new Uint8Array(IO_BYTES)
    for (let at = 0; at < MAP_DISK_BYTES && !context.signal.aborted; at += MiB)
      await disk.readInto(at, target)
    const { mapBytes, heldMapBytes } = bench.cluster.stats().memory
    return (mapBytes + heldMapBytes) / MAP_BUDGET_BYTES
  } finally {
    await bench[Symbol.asyncDispose]()
  }
}

async function secondsToOpen(context: BenchContext, bytes: number): Promise<number> {
  await using folder = await scratchFolder(context.dir)
  const location = `file:${folder.path}`
  const cluster = await openCluster(location, { nodes: 4, rf: 2, ssdBytes: 4_096 * MiB, hddBytes: 0 })
  const disk = await cluster.createVDisk('disk', { size: bytes })
  await writeDuplicates(disk, bytes, context.signal, (at) =>
    context.progress.now(`compare growth, files, ${Math.round(at / MiB)} MiB`),
  )
  await cluster.close()
  const from = performance.now()
  const again = await openCluster(location)
  const seconds = (performance.now() - from) / 1_000
  await again.close()
  return seconds
}
