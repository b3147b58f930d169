/**
 * What `stats()` says of memory. Guards: map pages stay within their budget, however large the map; those that have to stay are
 * told apart, and a trim of a large disk leaves no more of them than writes do; cached blocks, fingerprints and egroups are counted.
 */
import { expect, test } from 'vitest'
import { type ClusterSettings, KiB, MiB, openCluster } from '../../src/index.ts'

const BUDGET = 1 * MiB
const SETTINGS: ClusterSettings = { nodes: 2, rf: 1, hddBytes: 0, mapBytes: BUDGET, curatorIntervalMs: 0 }
/** One leaf of the map, 2 KiB, for each MiB of the disk. */
const LEAVES = 2048

test('a map of four times its budget', async () => {
  const settings = { ...SETTINGS, ssdBytes: 512 * MiB, cacheBytes: 1 * MiB }
  await using cluster = await openCluster('memory:', settings)
  const disk = await cluster.createVDisk('a', { size: LEAVES * MiB })
  const block = new Uint8Array(4 * KiB)
  const stamp = new DataView(block.buffer)
  for (let leaf = 0; leaf < LEAVES; leaf++) {
    stamp.setUint32(0, leaf + 1)
    await disk.write(leaf * MiB, block)
  }
  const written = cluster.stats().memory
  // Its leaves, and the inner pages above them.
  expect(written.heldMapBytes).toBeGreaterThanOrEqual(LEAVES * 2 * KiB)
  expect(written.heldMapBytes).toBeLessThanOrEqual((LEAVES + 16) * 2 * KiB)
  expect(written.mapBytes).toBeLessThanOrEqual(BUDGET)
  expect(written.fingerprintBytes).toBeGreaterThan(0)
  expect(written.egroupBytes).toBeGreaterThan(0)
  // A checkpoint.
  await disk.snapshot('s')
  expect(cluster.stats().memory.heldMapBytes).toBe(0)
  for (let leaf = 0; leaf < LEAVES; leaf++) {
    const read = await disk.read(leaf * MiB, 4 * KiB)
    expect(new DataView(read.buffer, read.byteOffset).getUint32(0)).toBe(leaf + 1)
  }
  const { mapBytes, heldMapBytes, cacheBytes } = cluster.stats().memory
  expect(heldMapBytes).toBe(0)
  expect(mapBytes).toBeLessThanOrEqual(BUDGET)
  expect(mapBytes).toBeGreaterThan(0.9 * BUDGET)
  expect(cacheBytes).toBeLessThanOrEqual(1 * MiB)
  expect(cacheBytes).toBeGreaterThan(0.9 * MiB)
})

test('a trim of a disk with more leaves than may wait for a checkpoint', async () => {
  await using cluster = await openCluster('memory:', { ...SETTINGS, ssdBytes: 1024 * MiB })
  const leaves = 40 * 1024
  const disk = await cluster.createVDisk('a', { size: leaves * MiB })
  const block = new Uint8Array(4 * KiB).fill(1)
  for (let leaf = 0; leaf < leaves; leaf += 64) {
    await Promise.all(Array.from({ length: 64 }, (_, i) => disk.write((leaf + i) * MiB, block)))
  }
  await disk.trim(0, leaves * MiB)
  const { heldMapBytes } = cluster.stats().memory
  expect(heldMapBytes).toBeGreaterThan(0)
  expect(heldMapBytes).toBeLessThan(50 * MiB)
})
