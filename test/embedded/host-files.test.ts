/** A host's file systems go with it: a node that is added later and gets its name has its own. */
import { expect, test } from 'vitest'
import { MiB } from '../../src/base/units.ts'
import { openSimCluster } from '../../src/sim/cluster.ts'

test('files on a node that was removed and added again', async () => {
  const sim = await openSimCluster({
    seed: 5,
    settings: { nodes: 4, rf: 2, ssdBytes: 64 * MiB, hddBytes: 0 },
  })
  const { cluster } = sim
  const node = await cluster.addNode()
  const before = await cluster.files(node).fileSystem('default')
  const name = Buffer.from('f')
  const { file } = await before.createFile(1, name, {}, { how: 'guarded' })
  await before.write(file.id, 0, Buffer.from('kept'))
  await cluster.removeNode(node)
  expect(await cluster.addNode()).toBe(node)
  const after = await cluster.files(node).fileSystem('default')
  expect(after).not.toBe(before)
  const target = new Uint8Array(4)
  await after.read((await after.lookup(1, name)).file.id, 0, target)
  expect(Buffer.from(target).toString()).toBe('kept')
  await sim.close()
})
