/** A reclaim comes when much was written, not only when its interval is over. */
import { expect, test } from 'vitest'
import { MiB } from '../../src/base/units.ts'
import type { EgroupRecord } from '../../src/cluster/records.ts'
import { SealedVolume } from '../../src/curator/sealed-volume.ts'
import { openCluster } from '../../src/index.ts'

function record(state: 'open' | 'sealed', length: number): EgroupRecord {
  const copies = [
    { node: 'node-1', tier: 'ssd' },
    { node: 'node-2', tier: 'ssd' },
  ] as const
  return { stream: 1, order: 1, state, length, generation: 1, rf: 2, copies }
}

test('what is sealed counts once, for each copy', () => {
  const volume = new SealedVolume()
  volume.changed(1, record('open', 0))
  expect(volume.isDue(64 * MiB)).toBe(false)
  volume.changed(1, record('sealed', 4 * MiB))
  volume.changed(1, record('sealed', 4 * MiB))
  volume.changed(2, record('sealed', 4 * MiB))
  expect(volume.isDue(64 * MiB)).toBe(true)
  expect(volume.isDue(65 * MiB)).toBe(false)
  volume.reset()
  expect(volume.isDue(1)).toBe(false)
  expect(new SealedVolume().isDue(0)).toBe(false)
})

test('overwrites of more than the cluster holds go on between two scans', async () => {
  await using cluster = await openCluster('memory:', {
    nodes: 3,
    rf: 2,
    ssdBytes: 96 * MiB,
    hddBytes: 0,
    curatorIntervalMs: 600_000,
  })
  await cluster.createContainer('plain', { rf: 2, compression: false, dedupe: false })
  const disk = await cluster.createVDisk('d', { size: 8 * MiB, container: 'plain' })
  const data = new Uint8Array(MiB)
  for (let round = 0; round < 40; round++) {
    data.fill(round + 1)
    await Promise.all(Array.from({ length: 8 }, (_, i) => disk.write(i * MiB, data)))
  }
  expect(await disk.read(3 * MiB, 4096)).toEqual(data.subarray(0, 4096))
  // The last reclaim may be under way.
  await expect.poll(() => cluster.stats().storedBytes, { timeout: 10_000 }).toBeLessThan(200 * MiB)
})

test(
  'a write that finds no room waits for a reclaim; without anything to get back it is refused',
  { retry: 2 },
  async () => {
    await using cluster = await openCluster('memory:', {
      nodes: 3,
      rf: 2,
      ssdBytes: 64 * MiB,
      hddBytes: 0,
      curatorIntervalMs: 600_000,
    })
    await cluster.createContainer('plain', { rf: 2, compression: false, dedupe: false })
    const disk = await cluster.createVDisk('d', { size: 256 * MiB, container: 'plain' })
    const data = new Uint8Array(MiB)
    let written = 0
    let code: unknown
    try {
      for (; written < 256; written++) {
        data.fill(written + 1)
        await disk.write(written * MiB, data)
      }
    } catch (error) {
      code = (error as { code?: unknown }).code
    }
    expect(code).toBe('NO_SPACE')
    await disk.trim(0, 24 * MiB)
    // By then the reclaim that got nothing is no longer fresh. Nothing else runs: the write makes the room that it needs.
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    for (let i = 0; i < 8; i++) await disk.write(i * MiB, data)
    expect(await disk.read(7 * MiB, 4096)).toEqual(data.subarray(0, 4096))
  },
)
