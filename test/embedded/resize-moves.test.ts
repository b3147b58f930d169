/** A resize that is under way when its disk moves to another CVM is tried again there. */
import { expect, test } from 'vitest'
import { MiB, openCluster } from '../../src/index.ts'

test('a disk shrinks while it moves from node to node', async () => {
  await using cluster = await openCluster('memory:', {
    nodes: 3,
    rf: 2,
    ssdBytes: 512 * MiB,
    hddBytes: 0,
    curatorIntervalMs: 0,
  })
  const disk = await cluster.createVDisk('d', { size: 64 * MiB, vm: 'vm', node: cluster.nodes[0]! })
  for (let round = 0; round < 60; round++) {
    for (let at = 32; at < 64; at += 4) await disk.write(at * MiB, new Uint8Array(4096).fill(round + 1))
    await disk.trim(32 * MiB, 32 * MiB)
    const moved = cluster.migrateVm('vm', { to: cluster.nodes[round % 2 === 0 ? 1 : 0]! })
    for (let turn = 0; turn < round; turn++) await undefined
    if (round % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
    await disk.resize(32 * MiB)
    await moved
    expect(disk.size).toBe(32 * MiB)
    await disk.resize(64 * MiB)
    expect(await disk.read(40 * MiB, 4096)).toEqual(new Uint8Array(4096))
  }
})
