/**
 * What `stats()` says of memory. Guards: map pages stay within their budget, however large the map; those that wait for a
 * checkpoint are told apart; cached blocks, fingerprints and egroups are counted.
 */
import { expect, test } from 'vitest'
import { KiB, MiB, openCluster } from '../../src/index.ts'

const BUDGET = 1 * MiB
/** One leaf of the map, 2 KiB, for each MiB of the disk. */
const LEAVES = 2048

test('a map of four times its budget', async () => {
  await using cluster = await openCluster('memory:', {
    nodes: 2,
    rf: 1,
    ssdBytes: 512 * MiB,
    hddBytes: 0,
    mapBytes: BUDGET,
    cacheBytes: 1 * MiB,
    curatorIntervalMs: 0,
  })
  const disk = await cluster.createVDisk('a', { size: LEAVES * MiB })
  const block = new Uint8Array(4 * KiB)
  const stamp = new DataView(block.buffer)
  for (let leaf = 0; leaf < LEAVES; leaf++) {
    stamp.setUint32(0, leaf + 1)
    await disk.write(leaf * MiB, block)
  }
  const written = cluster.stats().memory
  expect(written.dirtyMapBytes).toBe(LEAVES * 2 * KiB)
  expect(written.mapBytes).toBeLessThanOrEqual(BUDGET)
  expect(written.fingerprintBytes).toBeGreaterThan(0)
  expect(written.egroupBytes).toBeGreaterThan(0)
  // A checkpoint.
  await disk.snapshot('s')
  expect(cluster.stats().memory.dirtyMapBytes).toBe(0)
  for (let leaf = 0; leaf < LEAVES; leaf++) {
    const read = await disk.read(leaf * MiB, 4 * KiB)
    expect(new DataView(read.buffer, read.byteOffset).getUint32(0)).toBe(leaf + 1)
  }
  const { mapBytes, cacheBytes } = cluster.stats().memory
  expect(mapBytes).toBeLessThanOrEqual(BUDGET)
  expect(mapBytes).toBeGreaterThan(0.9 * BUDGET)
  expect(cacheBytes).toBeLessThanOrEqual(1 * MiB)
  expect(cacheBytes).toBeGreaterThan(0.9 * MiB)
})
