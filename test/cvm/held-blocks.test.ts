/**
 * The books of locality on a real cluster. Guards: what a prefetch brought counts as held when it is read first, from
 * the cache as well, and once only; a read of what is on its way waits for it and fetches nothing twice; an egroup
 * whose map records a takeover may need is not localised; partial copies give way to user data.
 */
import { describe, expect, test } from 'vitest'
import type { Cvm } from '../../src/cvm/cvm.ts'
import type { EmbeddedCluster } from '../../src/embedded/cluster.ts'
import { type Cluster, type ClusterSettings, KiB, MiB, openCluster, type VDisk } from '../../src/index.ts'
import type { LocalityPolicy, ReadSeen } from '../../src/locality/policy.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import type { OwnedVDisk } from '../../src/vdisk/owned-vdisk.ts'

const SETTINGS: ClusterSettings = {
  nodes: 4,
  rf: 1,
  ssdBytes: 256 * MiB,
  hddBytes: 256 * MiB,
  curatorIntervalMs: 0,
  localityPolicy: 'keep',
}

function noise(seed: number, length: number): Uint8Array {
  const random = seededRandom(seed)
  return new Uint8Array(Uint32Array.from({ length: length / 4 }, () => random.u32()).buffer)
}

async function fill(disk: VDisk, at: number, bytes: Uint8Array): Promise<void> {
  for (let i = 0; i < bytes.length; i += MiB) await disk.write(at + i, bytes.subarray(i, i + MiB))
}

async function until(condition: () => boolean, timeoutMs = 9_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('the condition did not come true in time')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function cvmOf(cluster: Cluster, node: string): Cvm {
  return (cluster as EmbeddedCluster)['members'].get(node)!.cvm!
}

/** A vDisk that lies whole on node-1 and is served by node-2; `seen` is what node-2's policy is told from now on. */
async function moved(cluster: Cluster, bytes: Uint8Array) {
  const disk = await cluster.createVDisk('a', { size: 64 * MiB, vm: 'vm', node: 'node-1' })
  await fill(disk, 0, bytes)
  await cluster.migrateVm('vm', { to: 'node-2' })
  const cvm = cvmOf(cluster, 'node-2')
  const owned = [...cvm.ownership.owned()].find(({ name }) => name === 'a') as OwnedVDisk
  const seen: ReadSeen[] = []
  const policy: LocalityPolicy = cvm['localiser']['deps'].policy
  const onRead = policy.onRead.bind(policy)
  policy.onRead = (read) => {
    seen.push({ ...read })
    return onRead(read)
  }
  const keep = async (egroup: number, slices: Parameters<Cvm['store']['keepPartial']>[2]) => {
    await cvm['partials'].keep(egroup, slices)
  }
  return { disk, owned, cvm, seen, keep }
}

describe('what a read is told to be', () => {
  for (const cacheBytes of [64 * MiB, 0]) {
    test(`prefetched blocks are held at their first read, cache of ${cacheBytes / MiB} MiB`, async () => {
      await using cluster = await openCluster('memory:', { ...SETTINGS, cacheBytes })
      const bytes = noise(1, 8 * MiB)
      const { disk, owned, seen, keep } = await moved(cluster, bytes)
      expect(await owned.prefetch(0, 256, keep)).toBe(256)
      expect(await owned.prefetch(0, 256, keep)).toBe(0)
      expect(Buffer.compare(await disk.read(0, MiB), bytes.subarray(0, MiB))).toBe(0)
      await disk.read(0, MiB)
      await disk.read(2 * MiB, MiB)
      expect(seen.map(({ remoteBlocks, heldBlocks }) => [remoteBlocks, heldBlocks])).toEqual([
        [0, 256],
        // Without a prefetch the cache would have it now; without a cache it would be remote again.
        [0, cacheBytes > 0 ? 0 : 256],
        [256, 0],
      ])
    })
  }

  test('a read waits for a prefetch under way, and fetches nothing twice', async () => {
    await using cluster = await openCluster('memory:', { ...SETTINGS, cacheBytes: 0 })
    const bytes = noise(2, 8 * MiB)
    const { disk, owned, seen, keep } = await moved(cluster, bytes)
    const sent = cluster.stats().network.externalBytes
    // What was fetched is not stored yet for as long as the test likes.
    let fetched: () => void = () => {}
    let store: () => void = () => {}
    const isFetched = new Promise<void>((resolve) => {
      fetched = resolve
    })
    const mayStore = new Promise<void>((resolve) => {
      store = resolve
    })
    const prefetch = owned.prefetch(0, 256, async (egroup, slices) => {
      fetched()
      await mayStore
      await keep(egroup, slices)
    })
    await isFetched
    expect(Buffer.compare(await disk.read(0, 256 * KiB), bytes.subarray(0, 256 * KiB))).toBe(0)
    store()
    expect(await prefetch).toBe(256)
    expect(
      seen.map(({ remoteBlocks, heldBlocks, lateBlocks }) => [remoteBlocks, heldBlocks, lateBlocks]),
    ).toEqual([[0, 64, 64]])
    expect(cluster.stats().network.externalBytes - sent).toBeLessThan(1.3 * MiB)
  })
})

test('an egroup is localised only when no takeover can need its map records', async () => {
  await using cluster = await openCluster('memory:', {
    ...SETTINGS,
    rf: 2,
    leaseTtlMs: 5_000,
    holdDownMs: 60_000,
  })
  const disk = await cluster.createVDisk('a', { size: 64 * MiB, vm: 'vm', node: 'node-1' })
  const bytes = noise(3, 24 * MiB)
  await fill(disk, 0, bytes)
  // A crash, not a hand-over: nothing was checkpointed, and the new owner has replayed all of it.
  await cluster.failCvm('node-1')
  await disk.read(0, 4 * KiB)
  await cluster.recoverCvm('node-1')
  const { owner, id } = await cluster.vdiskInfo('a')
  expect(owner).not.toBe('node-1')
  for (let at = 0; at < bytes.length; at += MiB) {
    expect(Buffer.compare(await disk.read(at, MiB), bytes.subarray(at, at + MiB))).toBe(0)
  }
  await new Promise((resolve) => setTimeout(resolve, 500))
  expect(cluster.stats().partialBytes).toBeGreaterThan(4 * MiB)
  expect(cluster.stats().localised.egroups).toBe(0)
  await cvmOf(cluster, owner).ownership.get(id)!.checkpoint()
  await until(() => cluster.stats().localised.egroups > 0)
  for (let at = 0; at < bytes.length; at += MiB) {
    expect(Buffer.compare(await disk.read(at, MiB), bytes.subarray(at, at + MiB))).toBe(0)
  }
}, 20_000)

test('partial copies stay under their mark, and give way to user data', async () => {
  await using cluster = await openCluster('memory:', { ...SETTINGS, ssdBytes: 64 * MiB, cacheBytes: 0 })
  const bytes = noise(4, 48 * MiB)
  const { disk, cvm } = await moved(cluster, bytes)
  // Half of each egroup, so that none is completed.
  for (let at = 0; at < bytes.length; at += MiB) await disk.read(at, 512 * KiB)
  await until(() => cvm['partials']['waitingBytes'] === 0)
  const ssd = () => cluster.stats().nodes['node-2']!.ssd
  const kept = cluster.stats().partialBytes
  expect(kept).toBeGreaterThan(16 * MiB)
  expect(ssd().usedBytes / ssd().sizeBytes).toBeLessThanOrEqual(0.71)
  const own = await cluster.createVDisk('own', { size: 64 * MiB, vm: 'vm2', node: 'node-2' })
  await fill(own, 0, noise(5, 32 * MiB))
  expect(cluster.stats().partialBytes).toBeLessThan(kept / 2)
  expect(ssd().usedBytes / ssd().sizeBytes).toBeLessThan(0.96)
  for (let at = 0; at < bytes.length; at += MiB) {
    expect(Buffer.compare(await disk.read(at, MiB), bytes.subarray(at, at + MiB))).toBe(0)
  }
})
