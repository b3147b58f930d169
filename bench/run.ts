/**
 * `npm run bench`: what the engine does in this process, over memory or files. One table, ratios to be compared within
 * one run: absolute figures of a shared machine mean little. `--json` prints one object a job instead.
 *
 *   npm run bench -- [--location memory:|file:DIR] [--ops 20000] [--json]
 *
 * Data: half text-like blocks (compressible), half noise, all different. RF2 on four nodes, compression and dedupe on,
 * acknowledged means synced on both copies.
 */
import { createHistogram, performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { type Cluster, MiB, openCluster, type VDisk } from '../src/index.ts'
import { seededRandom } from '../src/platform/real/random.ts'

const BLOCK = 4096
const DISK_BYTES = 256 * MiB

interface Result {
  readonly job: string
  readonly ops: number
  readonly opsPerSecond: number
  readonly mbPerSecond: number
  readonly p50Us: number
  readonly p99Us: number
  readonly cpuUsPerOp: number
}

const random = seededRandom(1)

/** A buffer of blocks that differ from each other, each second one compressible. */
function blocks(count: number): Uint8Array {
  const bytes = new Uint8Array(count * BLOCK)
  const words = new Uint32Array(bytes.buffer)
  const text = Buffer.from(
    'export function plan(view: View): Move[] { return view.moves.filter(isDue) }\n'.repeat(60),
  )
  for (let i = 0; i < count; i++) {
    if (i % 2 === 0) bytes.set(text.subarray(0, BLOCK), i * BLOCK)
    else for (let w = 0; w < BLOCK / 4; w++) words[(i * BLOCK) / 4 + w] = random.u32()
  }
  return bytes
}

async function run(
  job: string,
  ops: number,
  depth: number,
  opBytes: number,
  op: (i: number) => Promise<unknown>,
): Promise<Result> {
  const histogram = createHistogram()
  const cpu = process.cpuUsage()
  const startedAt = performance.now()
  let next = 0
  await Promise.all(
    Array.from({ length: depth }, async () => {
      while (next < ops) {
        const from = performance.now()
        await op(next++)
        histogram.record(Math.max(1, Math.round((performance.now() - from) * 1000)))
      }
    }),
  )
  const seconds = (performance.now() - startedAt) / 1000
  const used = process.cpuUsage(cpu)
  return {
    job,
    ops,
    opsPerSecond: Math.round(ops / seconds),
    mbPerSecond: Math.round((ops * opBytes) / seconds / MiB),
    p50Us: histogram.percentile(50),
    p99Us: histogram.percentile(99),
    cpuUsPerOp: Math.round(((used.user + used.system) / ops) * 10) / 10,
  }
}

async function jobs(
  cluster: Cluster,
  disk: VDisk,
  ops: number,
  report: (result: Result) => void,
): Promise<void> {
  const pool = blocks(2048)
  const words = new Uint32Array(pool.buffer)
  const blockOf = (i: number) => {
    const at = (i % 2048) * BLOCK
    words[at / 4] = random.u32()
    return pool.subarray(at, at + BLOCK)
  }
  const anywhere = () => random.below(DISK_BYTES / BLOCK) * BLOCK
  for (const depth of [1, 8, 32]) {
    const count = Math.max(200, Math.round((ops * depth) / 32))
    report(
      await run(`4 KiB random write, QD${depth}`, count, depth, BLOCK, (i) =>
        disk.write(anywhere(), blockOf(i)),
      ),
    )
  }
  for (const depth of [1, 32]) {
    const target = new Uint8Array(BLOCK)
    report(
      await run(`4 KiB random read, QD${depth}`, ops, depth, BLOCK, () => disk.readInto(anywhere(), target)),
    )
  }
  const large = blocks(256)
  const largeWords = new Uint32Array(large.buffer)
  const megabytes = Math.max(32, Math.round(ops / 100))
  report(
    await run('1 MiB sequential write', megabytes, 2, MiB, (i) => {
      for (let at = 0; at < largeWords.length; at += BLOCK / 4) largeWords[at] = random.u32()
      return disk.write((i * MiB) % DISK_BYTES, large)
    }),
  )
  report(await run('1 MiB sequential read', megabytes, 2, MiB, (i) => disk.read((i * MiB) % DISK_BYTES, MiB)))
  const { savedBytes, written } = cluster.stats()
  const saved = savedBytes.compression + savedBytes.dedupe + savedBytes.zero
  console.error(`data reduction saved ${Math.round((100 * saved) / written.bytes)} % of what was written`)
}

const { values } = parseArgs({
  options: {
    location: { type: 'string', default: 'memory:' },
    ops: { type: 'string', default: '20000' },
    json: { type: 'boolean', default: false },
  },
})
const settings = { nodes: 4, rf: 2, ssdBytes: 2048 * MiB, hddBytes: 0, curatorIntervalMs: 0 } as const
const cluster = await openCluster(values.location, settings)
try {
  const disk = await cluster.createVDisk(`bench-${Date.now()}`, { size: DISK_BYTES })
  const results: Result[] = []
  await jobs(cluster, disk, Number(values.ops), (result) => {
    results.push(result)
    if (values.json) console.log(JSON.stringify(result))
    else console.error(`${result.job}: done`)
  })
  if (!values.json) console.table(results)
} finally {
  await cluster.close()
}
