/** After the loss of a node or a device, every egroup has RF copies again, on other nodes, in distinct blocks. */
import { describe, expect, test } from 'vitest'
import { surplusCopy, withoutLost } from '../../src/curator/rebuild-plan.ts'
import type { EmbeddedCluster } from '../../src/embedded/cluster.ts'
import { type Cluster, MiB } from '../../src/index.ts'
import { holds, openTestCluster, randomBytes, recordEvents, until, writeAll } from './harness.ts'

function records(cluster: Cluster) {
  const members = [...(cluster as EmbeddedCluster)['members'].values()]
  const { directory, membership } = members.find((member) => member.cvmState === 'up')!.cvm!
  return [...directory.all()].map(([egroup, { value }]) => ({
    egroup,
    ...value,
    nodes: value.copies.map((copy) => copy.node),
    blocks: new Set(value.copies.map((copy) => membership.member(copy.node)?.block)),
  }))
}

describe('rebuild', () => {
  test('on request, copies of a CVM that is away are made elsewhere; both losses together cost no data', async () => {
    const cluster = await openTestCluster()
    const events = recordEvents(cluster)
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
    const bytes = randomBytes(10 * MiB, 1)
    await writeAll(disk, 0, bytes)
    await cluster.failCvm('node-1')
    expect(await holds(disk, 0, bytes)).toBe(true)
    expect(cluster.stats().underReplicatedBytes).toBeGreaterThan(0)
    const report = await cluster.runCurator()
    expect(report.incomplete).toBeUndefined()
    expect(report.rebuiltEgroups).toBeGreaterThanOrEqual(3)
    expect(report.rebuiltBytes).toBeGreaterThanOrEqual(10 * MiB)
    expect(cluster.stats().underReplicatedBytes).toBe(0)
    for (const record of records(cluster)) expect(record.nodes).not.toContain('node-1')
    expect(events.some((event) => event.type === 'rebuilt')).toBe(true)
    // RF2 again: one more loss is survived.
    const { owner } = await cluster.vdiskInfo('a')
    await cluster.failCvm(owner)
    expect(await holds(disk, 0, bytes)).toBe(true)
    await cluster.close()
  })

  test('an idle vDisk with an open egroup on a lost node gets its copy back too', async () => {
    const cluster = await openTestCluster({ nodes: 3 })
    const disk = await cluster.createVDisk('a', { size: 8 * MiB, node: 'node-1' })
    const bytes = randomBytes(1 * MiB, 2)
    await disk.write(0, bytes)
    const other = records(cluster)[0]!.nodes.find((node) => node !== 'node-1')!
    await cluster.failCvm(other)
    await cluster.runCurator()
    for (const record of records(cluster)) expect(record.nodes).not.toContain(other)
    expect(cluster.stats().underReplicatedBytes).toBe(0)
    await cluster.failCvm('node-1')
    expect(await holds(disk, 0, bytes)).toBe(true)
    await cluster.close()
  })

  test('in the background it waits for the rebuild delay, and then for nobody', async () => {
    const cluster = await openTestCluster({ curatorIntervalMs: 60_000, rebuildDelayMs: 600 })
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-2' })
    const bytes = randomBytes(6 * MiB, 3)
    await writeAll(disk, 0, bytes)
    await cluster.failCvm('node-2')
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(records(cluster).some((record) => record.nodes.includes('node-2'))).toBe(true)
    await until(() => cluster.stats().underReplicatedBytes === 0)
    await until(() => records(cluster).every((record) => !record.nodes.includes('node-2')))
    expect(await holds(disk, 0, bytes)).toBe(true)
    await cluster.close()
  })

  test('a CVM that is back within the delay keeps its copies', async () => {
    const cluster = await openTestCluster({ curatorIntervalMs: 60_000, rebuildDelayMs: 1_000 })
    const events = recordEvents(cluster)
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-2' })
    await writeAll(disk, 0, randomBytes(6 * MiB, 4))
    await cluster.failCvm('node-3')
    await cluster.recoverCvm('node-3')
    await new Promise((resolve) => setTimeout(resolve, 1_300))
    expect(events.some((event) => event.type === 'rebuilt')).toBe(false)
    await cluster.close()
  })

  test('the copies of a failed device are made elsewhere, soon and by themselves', async () => {
    const cluster = await openTestCluster({ curatorIntervalMs: 60_000 })
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
    const bytes = randomBytes(10 * MiB, 5)
    await writeAll(disk, 0, bytes)
    await cluster.failDevice('node-1.ssd0')
    const isWhole = () =>
      records(cluster).every(
        (record) => record.length === 0 || (record.nodes.length === 2 && !record.nodes.includes('node-1')),
      )
    await until(() => records(cluster).every((record) => record.state === 'sealed') && isWhole())
    expect(cluster.stats().underReplicatedBytes).toBe(0)
    expect(await holds(disk, 0, bytes)).toBe(true)
    await cluster.close()
  })

  test('copies go to other blocks first', async () => {
    const cluster = await openTestCluster({ nodes: 6, nodesPerBlock: 2 })
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
    await writeAll(disk, 0, randomBytes(12 * MiB, 6))
    await cluster.failCvm('node-1')
    await cluster.runCurator()
    for (const record of records(cluster)) {
      if (record.state === 'sealed') expect(record.blocks.size).toBe(2)
    }
    await cluster.close()
  })

  test('copies that had to share a block are spread when another one is back', async () => {
    const cluster = await openTestCluster({ nodes: 4, nodesPerBlock: 2 })
    await cluster.failCvm('node-3')
    await cluster.failCvm('node-4')
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
    const bytes = randomBytes(10 * MiB, 8)
    await writeAll(disk, 0, bytes)
    await cluster.runCurator()
    const sealed = () => records(cluster).filter(({ state, length }) => state === 'sealed' && length > 0)
    expect(sealed().every((record) => record.blocks.size === 1)).toBe(true)
    await cluster.recoverCvm('node-3')
    await cluster.recoverCvm('node-4')
    await cluster.runCurator()
    expect(sealed().every((record) => record.blocks.size === 2)).toBe(true)
    // What is too many has to be so at two scans.
    await cluster.runCurator()
    await cluster.runCurator()
    for (const record of sealed()) {
      expect(record.blocks.size).toBe(2)
      expect(record.nodes).toHaveLength(2)
      expect(record.nodes).toContain('node-1')
    }
    // Nothing moves any more.
    expect((await cluster.runCurator()).rebuiltEgroups).toBe(0)
    await cluster.failCvm('node-1')
    await cluster.failCvm('node-2')
    expect(await holds(disk, 0, bytes)).toBe(true)
    await cluster.close()
  })

  test('without a node that could take a copy, the report says so and nothing is lost', async () => {
    const cluster = await openTestCluster({ nodes: 2 })
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
    const bytes = randomBytes(5 * MiB, 7)
    await writeAll(disk, 0, bytes)
    await cluster.failCvm('node-2')
    const report = await cluster.runCurator()
    expect(report.incomplete).toContain('fewer copies')
    expect(await holds(disk, 0, bytes)).toBe(true)
    await cluster.recoverCvm('node-2')
    expect(await cluster.runCurator()).not.toHaveProperty('incomplete')
    await cluster.close()
  })
})

describe('the choice of the copy that goes', () => {
  const blockOf = (node: string) => (node === 'n1' || node === 'n2' ? 'b1' : node === 'n3' ? 'b2' : 'b3')
  const copies = (...nodes: string[]) => nodes.map((node) => ({ node, tier: 'ssd' as const }))

  test('is none when there are not too many', () => {
    expect(surplusCopy(copies('n1', 'n3'), 2, 'n1', blockOf)).toBeUndefined()
  })

  test('never costs a failure domain, nor the owner its copy', () => {
    expect(surplusCopy(copies('n1', 'n2', 'n3'), 2, 'n1', blockOf)?.node).toBe('n2')
    expect(surplusCopy(copies('n3', 'n1', 'n2'), 2, 'n3', blockOf)?.node).toMatch(/n1|n2/)
  })

  test('is the farthest from the owner, and of those the one on the slower tier', () => {
    expect(surplusCopy(copies('n1', 'n3', 'n4'), 2, 'n1', blockOf)?.node).toMatch(/n3|n4/)
    const mixed = [...copies('n1', 'n3'), { node: 'n4', tier: 'hdd' as const }]
    expect(surplusCopy(mixed, 2, 'n1', blockOf)?.node).toBe('n4')
  })

  test('a lost copy leaves only when RF others are there', () => {
    const counts = (node: string) => node !== 'n1'
    expect(withoutLost(copies('n1', 'n3'), 2, counts)).toHaveLength(2)
    expect(withoutLost(copies('n1', 'n3', 'n4'), 2, counts)).toEqual(copies('n3', 'n4'))
    expect(withoutLost(copies('n1'), 1, counts)).toHaveLength(1)
  })
})
