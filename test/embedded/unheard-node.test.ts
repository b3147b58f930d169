/** The life of a node's CVM while the catalog does not answer: it ends all the same, and begins when it can. */
import { afterEach, expect, test } from 'vitest'
import { MiB } from '../../src/base/units.ts'
import { keys } from '../../src/cluster/records.ts'
import { openSimCluster, type SimCluster } from '../../src/sim/cluster.ts'

let sim: SimCluster | undefined

afterEach(async () => {
  await sim?.cluster.close()
  sim = undefined
})

async function opened(): Promise<SimCluster> {
  sim = await openSimCluster({
    seed: 11,
    settings: { nodes: 3, rf: 2, ssdBytes: 64 * MiB, hddBytes: 0, leaseTtlMs: 500, curatorIntervalMs: 0 },
  })
  return sim
}

function stateOf({ cluster }: SimCluster, node: string): string | undefined {
  return cluster.status().nodes.find((each) => each.node === node)?.cvm
}

test('a CVM that lost its lease starts again when the catalog answers its node again', async () => {
  const cluster = await opened()
  const { faults } = cluster.world.catalogServer
  const before = cluster.cvm('node-2')
  faults.isolate('node-2')
  // It is told by the catalog that its lease has ended, cannot read what it needs to start, and so on.
  await cluster.loop.sleep(3_000)
  faults.heal('node-2')
  await cluster.loop.sleep(200)
  faults.isolate('node-2')
  await cluster.loop.sleep(20_000)
  expect(cluster.cvm('node-2')).toBeUndefined()
  expect(await cluster.world.catalog.get(keys.lease('node-2'))).toBeUndefined()
  faults.heal('node-2')
  await cluster.loop.sleep(5_000)
  expect(stateOf(cluster, 'node-2')).toBe('up')
  expect(cluster.cvm('node-2')).not.toBe(before)
  expect(await cluster.world.catalog.get(keys.lease('node-2'))).toBeDefined()
})

test('a CVM that is killed while the catalog does not answer the host is down, and comes back', async () => {
  const cluster = await opened()
  const { faults } = cluster.world.catalogServer
  faults.isolate('hosts')
  await cluster.cluster.failCvm('node-1')
  expect(stateOf(cluster, 'node-1')).toBe('down')
  await cluster.cluster.failCvm('node-3', { hang: true })
  // Its lease cannot be ended from here: the new life waits until it has run out.
  await cluster.cluster.recoverCvm('node-3')
  await cluster.cluster.recoverCvm('node-1')
  faults.heal('hosts')
  expect(stateOf(cluster, 'node-1')).toBe('up')
  expect(stateOf(cluster, 'node-3')).toBe('up')
})
