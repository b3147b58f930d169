/**
 * Real fio, verifying what it wrote, while CVMs are killed and hang under it. Guards: a client sees a pause, never an
 * error, never lost or stale data. Prints the pauses.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect } from 'vitest'
import { peer, run } from '../peers.ts'
import { ServedCluster } from './served-cluster.ts'

const folders: string[] = []
afterEach(async () => {
  await ServedCluster.killAll()
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
})

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

interface FioJob {
  readonly error: number
  readonly read: { readonly total_ios: number; readonly clat_ns: { readonly max: number } }
  readonly write: { readonly total_ios: number; readonly clat_ns: { readonly max: number } }
}

peer('fio').it('fio with verification runs through a killed, a hung and other failing CVMs', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hither-failover-'))
  folders.push(folder)
  const cluster = await ServedCluster.start(folder, '--hold-down', '500ms', '--ssd', '1GiB', '--hdd', '0')
  await cluster.command('disk', 'create', 'v', '--size', '256MiB', '--vm', 'vm1', '--node', 'node-1')
  const output = join(folder, 'fio.json')
  const fio = run(
    'fio',
    [
      '--name=v',
      '--ioengine=nbd',
      `--uri=${cluster.url('node-1', 'v')}`,
      '--rw=randwrite',
      '--bs=4k',
      '--iodepth=16',
      '--size=24M',
      '--time_based',
      '--runtime=14',
      '--verify=crc32c',
      '--verify_fatal=1',
      '--do_verify=1',
      '--output-format=json',
      `--output=${output}`,
    ],
    { timeoutMs: 90_000, cwd: folder },
  )
  const pauses: string[] = []
  const failOwner = async (...how: string[]) => {
    const [disk] = (await cluster.status()).disks
    await cluster.command('cvm', 'fail', disk!.owner, ...how)
    await sleep(how.length > 0 ? 3500 : 1500)
    const pauseMs = (await cluster.status()).disks[0]!.lastFailover!.pauseMs
    pauses.push(`${how.length > 0 ? 'hang' : 'crash'} ${pauseMs} ms`)
    await cluster.command('cvm', 'recover', disk!.owner)
    await sleep(1000)
  }
  await sleep(1000)
  await failOwner()
  await failOwner('--hang')
  for (const node of ['node-3', 'node-4']) {
    await cluster.command('cvm', 'fail', node)
    await sleep(500)
    await cluster.command('cvm', 'recover', node)
  }
  const result = await fio
  expect(`${result.code} ${result.stderr.replace(/.*verification read phase.*\n?/, '')}`).toBe('0 ')
  const text = await readFile(output, 'utf8')
  // fio puts a remark about the verification phase before the JSON.
  const job = (JSON.parse(text.slice(text.indexOf('{'))) as { jobs: FioJob[] }).jobs[0]!
  expect(job.error).toBe(0)
  expect(job.write.total_ios).toBeGreaterThan(1000)
  // It has read back, and verified, what it wrote before, during and after.
  expect(job.read.total_ios).toBeGreaterThan(1000)
  const longestMs = Math.max(job.write.clat_ns.max, job.read.clat_ns.max) / 1e6
  console.log(`pauses: ${pauses.join(', ')}; longest answer ${longestMs.toFixed(0)} ms`)
  expect(longestMs).toBeLessThan(10_000)
  await cluster.stop()
}, 120_000)
