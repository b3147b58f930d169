/** Nothing moves to a node that is being drained: the drain would miss it, and it would live on a node that is gone. */
import { expect, test } from 'vitest'
import { MiB } from '../../src/base/units.ts'
import { openSimCluster } from '../../src/sim/cluster.ts'

test('VMs and disks that come to a node while it is drained are refused, or leave with the rest', async () => {
  const sim = await openSimCluster({
    seed: 7,
    settings: { nodes: 4, rf: 2, ssdBytes: 64 * MiB, hddBytes: 0 },
  })
  const { cluster, loop } = sim
  const disk = await cluster.createVDisk('d', { size: 8 * MiB, vm: 'vm', node: 'node-1' })
  await disk.write(0, new Uint8Array(4 * MiB).fill(1))
  await cluster.createVDisk('there', { size: MiB, node: 'node-2' })
  let removed = false
  const removal = cluster.removeNode('node-2').then(() => {
    removed = true
  })
  const codes = new Set<unknown>()
  for (let i = 0; !removed; i++) {
    await cluster.migrateVm('vm', { to: 'node-2' }).catch((error) => codes.add(error.code))
    await cluster
      .createVDisk(`new-${i}`, { size: MiB, node: 'node-2' })
      .catch((error) => codes.add(error.code))
    await loop.sleep(1)
  }
  await removal
  expect(codes).toContain('CONFLICT')
  for (const { node } of await cluster.listVms()) expect(cluster.nodes).toContain(node)
  for (const { home } of await cluster.listVDisks()) expect(cluster.nodes).toContain(home)
  await cluster.cloneVDisk('d', 'copy', { vm: 'vm' })
  await sim.close()
})
