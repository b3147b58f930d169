/** When the Curator works: by itself while something changes, not at all while nothing does, one at a time. */
import { expect, test } from 'vitest'
import { asLeader } from '../../src/curator/leadership.ts'
import type { EmbeddedCluster } from '../../src/embedded/cluster.ts'
import { type Cluster, MiB } from '../../src/index.ts'
import { openTestCluster, randomBytes, recordEvents, until, writeAll } from './harness.ts'

function cvmOf(cluster: Cluster, node: string) {
  return (cluster as EmbeddedCluster)['members'].get(node)!.cvm!
}

test('in the background, space comes back by itself, and then nothing moves', async () => {
  const cluster = await openTestCluster({ curatorIntervalMs: 50 })
  const events = recordEvents(cluster)
  const scans = () => events.filter((event) => event.type === 'curator').length
  const disk = await cluster.createVDisk('a', { size: 64 * MiB })
  const kept = await cluster.createVDisk('b', { size: 64 * MiB })
  await writeAll(disk, 0, randomBytes(5 * MiB, 1))
  await writeAll(kept, 0, randomBytes(5 * MiB, 2))
  await disk.close()
  await cluster.deleteVDisk('a')
  await until(() => cluster.stats().storedBytes < 12 * MiB)
  await new Promise((resolve) => setTimeout(resolve, 400))
  const settled = scans()
  const sent = cluster.stats().network.externalBytes
  const [, { revision }] = [...cvmOf(cluster, 'node-1').directory.all()][0]!
  await new Promise((resolve) => setTimeout(resolve, 400))
  expect(scans()).toBe(settled)
  expect(cluster.stats().network.externalBytes).toBe(sent)
  expect([...cvmOf(cluster, 'node-1').directory.all()][0]![1].revision).toBe(revision)
  // A snapshot that goes is a change, although no egroup has changed yet.
  await kept.snapshot('s')
  await cluster.deleteSnapshot('b', 's')
  await until(() => scans() > settled)
  expect(events.filter((event) => event.type === 'error')).toEqual([])
  await cluster.close()
})

test('one works at a time: requests wait, another CVM is told, and a leader that dies makes room', async () => {
  const cluster = await openTestCluster()
  const reports = await Promise.all([cluster.runCurator(), cluster.runCurator(), cluster.runCurator()])
  expect(reports.map((report) => report.incomplete)).toEqual([undefined, undefined, undefined])
  const [one, two] = ['node-1', 'node-2'].map((node) => cvmOf(cluster, node)) as [
    ReturnType<typeof cvmOf>,
    ReturnType<typeof cvmOf>,
  ]
  const lead = (cvm: typeof one, work: () => Promise<string>) =>
    asLeader(cvm.platform.catalog, cvm.membership, work)
  const inner = lead(one, async () => {
    await expect(lead(two, async () => 'two')).rejects.toMatchObject({ code: 'CONFLICT' })
    return 'one'
  })
  expect(await inner).toBe('one')
  expect(await lead(two, async () => 'two')).toBe('two')
  // Killed in the midst of it.
  void lead(one, () => new Promise(() => {}))
  await new Promise((resolve) => setTimeout(resolve, 20))
  await cluster.failCvm('node-1')
  expect(await lead(two, async () => 'two again')).toBe('two again')
  await cluster.close()
})

test('a cluster closes while a scan runs', async () => {
  const cluster = await openTestCluster({ curatorIntervalMs: 20 })
  const disk = await cluster.createVDisk('a', { size: 64 * MiB })
  await writeAll(disk, 0, randomBytes(8 * MiB, 3))
  const scan = cluster.runCurator().catch(() => {})
  await cluster.close()
  await scan
})
