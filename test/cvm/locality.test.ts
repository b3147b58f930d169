/**
 * Locality on a real cluster. Guards: right after a VM moves nothing is copied in bulk and reads are right; what is read
 * comes along and stays; settled means still; cold data leaves a tight SSD and hot data stays; a full cluster says so
 * before anything breaks and works again after deletes.
 */
import { describe, expect, test } from 'vitest'
import {
  type Cluster,
  type ClusterSettings,
  HitherError,
  KiB,
  MiB,
  openCluster,
  type VDisk,
} from '../../src/index.ts'
import { seededRandom } from '../../src/platform/real/random.ts'

const SETTINGS: ClusterSettings = {
  nodes: 4,
  rf: 2,
  ssdBytes: 256 * MiB,
  hddBytes: 256 * MiB,
  curatorIntervalMs: 0,
  // Without a cache every read shows where its data is.
  cacheBytes: 0,
}

function noise(seed: number, length: number): Uint8Array {
  const random = seededRandom(seed)
  const words = new Uint32Array(length / 4)
  for (let i = 0; i < words.length; i++) words[i] = random.u32()
  return new Uint8Array(words.buffer)
}

async function fill(disk: VDisk, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += MiB) await disk.write(at, bytes.subarray(at, at + MiB))
}

/** Reads all of `bytes` in pieces, checks them, and tells the part that came from another node. */
async function readAll(cluster: Cluster, disk: VDisk, bytes: Uint8Array, piece: number): Promise<number> {
  const before = cluster.stats().read
  for (let at = 0; at < bytes.length; at += piece) {
    const found = await disk.read(at, piece)
    if (Buffer.compare(found, bytes.subarray(at, at + piece)) !== 0) throw new Error(`wrong bytes at ${at}`)
  }
  const after = cluster.stats().read
  const remote = after.remoteBytes - before.remoteBytes
  return remote / (remote + after.localBytes - before.localBytes)
}

/** Until background bytes stand still. */
async function settle(cluster: Cluster): Promise<void> {
  for (let last = -1, still = 0; still < 5; ) {
    const now = cluster.stats().backgroundBytes + cluster.stats().network.externalBytes
    still = now === last ? still + 1 : 0
    last = now
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

describe('after a VM has moved', () => {
  for (const localityPolicy of ['readahead', 'keep', 'classic', 'never'] as const) {
    test(`${localityPolicy}: reads are right, nothing is copied in bulk, and the policy shows`, async () => {
      await using cluster = await openCluster('memory:', { ...SETTINGS, localityPolicy })
      const disk = await cluster.createVDisk('a', { size: 64 * MiB, vm: 'vm', node: 'node-1' })
      const bytes = noise(1, 32 * MiB)
      await fill(disk, bytes)
      await settle(cluster)
      const sent = cluster.stats().network.externalBytes
      await cluster.migrateVm('vm', { to: 'node-3' })
      await settle(cluster)
      expect(cluster.stats().network.externalBytes - sent).toBeLessThan(1 * MiB)
      const first = await readAll(cluster, disk, bytes, 64 * KiB)
      await settle(cluster)
      const again = await readAll(cluster, disk, bytes, 64 * KiB)
      // Some copies were on node-3 by chance of placement.
      expect(first).toBeGreaterThan(localityPolicy === 'readahead' ? 0 : 0.3)
      if (localityPolicy === 'readahead' || localityPolicy === 'keep') expect(again).toBeLessThan(0.03)
      if (localityPolicy === 'never') expect(again).toBeCloseTo(first, 5)
      await settle(cluster)
      const stats = cluster.stats()
      // Settled means still: reading on moves nothing.
      await readAll(cluster, disk, bytes, 64 * KiB)
      await settle(cluster)
      if (localityPolicy !== 'classic') {
        expect(cluster.stats().backgroundBytes).toBe(stats.backgroundBytes)
      }
      expect(stats.underReplicatedBytes).toBe(0)
      // RF copies, not more: a completed copy has taken the place of another.
      expect(stats.copies).toBe(stats.egroups * 2)
      if (localityPolicy === 'readahead') expect(stats.localised.egroups).toBeGreaterThan(3)
    }, 60_000)
  }

  test('what came along survives the loss of any CVM, and its own', async () => {
    await using cluster = await openCluster('memory:', { ...SETTINGS, leaseTtlMs: 500, holdDownMs: 100 })
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, vm: 'vm', node: 'node-1' })
    const bytes = noise(2, 24 * MiB)
    await fill(disk, bytes)
    await cluster.migrateVm('vm', { to: 'node-2' })
    await readAll(cluster, disk, bytes, 256 * KiB)
    await settle(cluster)
    for (const node of cluster.nodes) {
      await cluster.failCvm(node)
      await readAll(cluster, disk, bytes, 1 * MiB)
      await cluster.recoverCvm(node)
      await cluster.runCurator()
      expect(cluster.stats().underReplicatedBytes).toBe(0)
    }
    await readAll(cluster, disk, bytes, 1 * MiB)
  }, 60_000)
})

describe('tight space', () => {
  test('the coldest egroups leave a tight SSD, the hot ones stay, and a second run moves nothing', async () => {
    await using cluster = await openCluster('memory:', { ...SETTINGS, ssdBytes: 96 * MiB })
    const disks: VDisk[] = []
    const contents: Uint8Array[] = []
    for (let i = 0; i < 4; i++) {
      const disk = await cluster.createVDisk(`d${i}`, { size: 64 * MiB, vm: `vm${i}`, node: `node-${i + 1}` })
      disks.push(disk)
      contents.push(noise(10 + i, 40 * MiB))
      await fill(disk, contents[i]!)
    }
    // The first 8 MiB of each are hot.
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 4; i++)
        await readAll(cluster, disks[i]!, contents[i]!.subarray(0, 8 * MiB), 256 * KiB)
    }
    const report = await cluster.runCurator()
    expect(report.movedDownBytes).toBeGreaterThan(0)
    for (const { ssd } of Object.values(cluster.stats().nodes)) {
      expect(ssd.usedBytes / ssd.sizeBytes).toBeLessThan(0.76)
    }
    const again = await cluster.runCurator()
    expect([again.movedDownBytes, again.evictedBytes]).toEqual([0, 0])
    for (let i = 0; i < 4; i++) await readAll(cluster, disks[i]!, contents[i]!, 1 * MiB)
    expect(cluster.stats().underReplicatedBytes).toBe(0)
  }, 60_000)

  test('a full cluster refuses writes with NO_SPACE, loses nothing, and works again after deletes', async () => {
    await using cluster = await openCluster('memory:', {
      ...SETTINGS,
      ssdBytes: 64 * MiB,
      hddBytes: 64 * MiB,
      ioDeadlineMs: 5000,
    })
    const kept = await cluster.createVDisk('kept', { size: 64 * MiB })
    const bytes = noise(20, 16 * MiB)
    await fill(kept, bytes)
    const filler = await cluster.createVDisk('filler', { size: 4096 * MiB })
    let refused: unknown
    let written = 0
    for (let i = 0; i < 400 && refused === undefined; i++) {
      try {
        await filler.write(i * MiB, noise(1000 + i, 1 * MiB))
        written++
      } catch (error) {
        refused = error
      }
    }
    expect(refused).toBeInstanceOf(HitherError)
    expect((refused as HitherError).code).toBe('NO_SPACE')
    expect(written).toBeGreaterThan(150)
    await readAll(cluster, kept, bytes, 1 * MiB)
    for (let i = 0; i < written; i += 7) {
      expect(Buffer.compare(await filler.read(i * MiB, 1 * MiB), noise(1000 + i, 1 * MiB))).toBe(0)
    }
    await filler.close()
    await cluster.deleteVDisk('filler')
    await cluster.runCurator()
    expect(cluster.stats().storedBytes).toBeLessThan(48 * MiB)
    await kept.write(16 * MiB, bytes)
    await readAll(cluster, kept, bytes, 1 * MiB)
    await kept.close()
    await cluster.deleteVDisk('kept')
    await cluster.runCurator()
    expect(cluster.stats().storedBytes).toBe(0)
  }, 60_000)
})
