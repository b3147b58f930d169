/**
 * fio, verifying what it writes, at the door of host 1 while each CVM in turn is killed and made to hang, and recovers.
 * Guards: a client sees a pause, never an error, never lost or stale data. Prints the longest pauses.
 *
 * The doors live in the process of the CVMs, so that their connections outlast a failed CVM: fio's requests wait. The
 * short form fails only the CVM that owns the disk; the long form every one of them, both ways.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { peer, run } from '../peers.ts'
import { ClusterProcess, LONG, scratchFolder, TIMEOUT_MS, until } from './harness.ts'

/** How long each CVM is away and how long fio goes on after all are back, ms. */
const AWAY_MS = { crash: 2_000, hang: 4_000 }
const AFTER_MS = 1_000
/** Goals of the project on a quiet machine; the short form runs beside other tests and only has to be alive. */
const PAUSE_MAX_MS = LONG ? { crash: 1_000, hang: 3_000 } : { crash: 10_000, hang: 12_000 }

type Way = keyof typeof AWAY_MS

interface FioJob {
  readonly error: number
  readonly write: { readonly total_ios: number; readonly clat_ns: { readonly max: number } }
  readonly read: { readonly total_ios: number; readonly clat_ns: { readonly max: number } }
}

peer('fio').it(
  'fio with verification outlives every failure of a CVM',
  async () => {
    await using folder = await scratchFolder()
    await using cluster = await ClusterProcess.start(folder.path, [
      ...['--ssd', '4GiB', '--hdd', '8GiB', '--hold-down', '1s'],
    ])
    await cluster.hither('disk', 'create', 'd', '--size', '128MiB', '--vm', 'vm1', '--node', 'node-1')
    const failures: Array<{ node: string; way: Way }> = []
    for (const { node } of LONG ? cluster.hosts : cluster.hosts.slice(0, 1)) {
      for (const way of ['crash', 'hang'] as const) failures.push({ node, way })
    }

    const stop = new AbortController()
    const fio = runFio(cluster.uri('d'), folder.path, stop.signal)
    const pauses = { crash: 0, hang: 0 }
    const failAll = async (): Promise<void> => {
      await sleep(AFTER_MS)
      for (const { node, way } of failures) {
        const pauseMs = await failAndRecover(cluster, node, way)
        console.log(`${node} ${way}: ${pauseMs === undefined ? 'the disk stayed' : `pause ${pauseMs} ms`}`)
        pauses[way] = Math.max(pauses[way], pauseMs ?? 0)
      }
      await sleep(AFTER_MS)
      stop.abort()
    }
    const [jobs] = await Promise.all([fio, failAll()])

    const ios = sum(jobs, (job) => job.write.total_ios)
    const verified = sum(jobs, (job) => job.read.total_ios)
    const clatMs = Math.max(...jobs.flatMap((job) => [job.write.clat_ns.max, job.read.clat_ns.max])) / 1e6
    console.log(
      `${jobs.length} runs of fio: ${ios} writes, ${verified} verified, 0 errors; longest pause: ` +
        `crash ${pauses.crash} ms, hang ${pauses.hang} ms, longest answer to fio ${clatMs.toFixed(0)} ms`,
    )
    expect(verified).toBe(ios)
    expect(pauses.crash).toBeLessThan(PAUSE_MAX_MS.crash)
    expect(pauses.hang).toBeLessThan(PAUSE_MAX_MS.hang)
    expect((await cluster.status()).health).toBe('healthy')
    await cluster.stop()
  },
  TIMEOUT_MS,
)

/** The pause that the disk's users saw, ms; `undefined` when the node did not serve it. */
async function failAndRecover(cluster: ClusterProcess, node: string, way: Way): Promise<number | undefined> {
  const before = (await cluster.status()).disks[0]!
  await cluster.hither('cvm', 'fail', node, ...(way === 'hang' ? ['--hang'] : []))
  await sleep(AWAY_MS[way])
  const during = (await cluster.status()).disks[0]!
  await cluster.hither('cvm', 'recover', node)
  await until(`${node} is up and everything is at home`, async () => {
    const { nodes, disks } = await cluster.status()
    return (
      nodes.every((one) => one.cvm === 'up' && one.path === one.node) &&
      disks.every((disk) => disk.owner === disk.home)
    )
  })
  if (before.owner !== node) return undefined
  expect(during.owner).not.toBe(node)
  return during.lastFailover!.pauseMs
}

/** Runs fio again and again until told to stop; each run writes random blocks and verifies every one of them. */
async function runFio(uri: string, folder: string, stop: AbortSignal): Promise<FioJob[]> {
  const jobs: FioJob[] = []
  while (!stop.aborted) {
    const output = join(folder, 'fio.json')
    const result = await run(
      'fio',
      [
        ...['--name=d', '--ioengine=nbd', `--uri=${uri}`, '--rw=randwrite', '--bs=4k', '--iodepth=16'],
        ...['--size=128m', '--io_size=8m', `--randseed=${jobs.length + 1}`],
        ...['--verify=crc32c', '--verify_fatal=1', '--do_verify=1'],
        ...['--output-format=json', `--output=${output}`],
      ],
      { timeoutMs: 120_000, cwd: folder },
    )
    // fio says on stderr that it verifies, too.
    expect(result.code, result.stderr).toBe(0)
    const job = (JSON.parse(await readFile(output, 'utf8')) as { jobs: FioJob[] }).jobs[0]!
    expect(job.error).toBe(0)
    jobs.push(job)
  }
  return jobs
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
