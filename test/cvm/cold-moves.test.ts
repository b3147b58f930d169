/**
 * Moves of cold data in the background. Guards: a tight SSD is relieved soon after it has filled, long before the next
 * scan is due; a CVM that dies in the middle of the moves loses nothing.
 */
import { expect, test } from 'vitest'
import { type ClusterEvent, MiB, openCluster } from '../../src/index.ts'
import { seededRandom } from '../../src/platform/real/random.ts'

function noise(seed: number, length: number): Uint8Array {
  const random = seededRandom(seed)
  const words = new Uint32Array(length / 4)
  for (let i = 0; i < words.length; i++) words[i] = random.u32()
  return new Uint8Array(words.buffer)
}

async function until(condition: () => boolean, timeoutMs = 9_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('the condition did not come true in time')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

test('a tight SSD is relieved soon, and a CVM that dies meanwhile loses nothing', async () => {
  await using cluster = await openCluster('memory:', {
    nodes: 3,
    rf: 2,
    ssdBytes: 64 * MiB,
    hddBytes: 256 * MiB,
    cacheBytes: 0,
    curatorIntervalMs: 3_600_000,
    leaseTtlMs: 5_000,
    holdDownMs: 100,
    localityPolicy: 'keep',
  })
  const events: ClusterEvent[] = []
  void (async () => {
    for await (const event of cluster.events()) events.push(event)
  })()
  const moved = () => events.filter(({ type }) => type === 'tiered').length
  const disk = await cluster.createVDisk('a', { size: 128 * MiB, vm: 'vm', node: 'node-2' })
  const bytes = noise(1, 88 * MiB)
  for (let at = 0; at < bytes.length; at += MiB) await disk.write(at, bytes.subarray(at, at + MiB))
  await until(() => moved() > 0)
  // The leader, which is moving, and then a node from which it moves.
  for (const node of ['node-1', 'node-3']) {
    await cluster.failCvm(node)
    for (let at = 0; at < bytes.length; at += 8 * MiB) {
      expect(Buffer.compare(await disk.read(at, MiB), bytes.subarray(at, at + MiB))).toBe(0)
    }
    await cluster.recoverCvm(node)
  }
  await cluster.runCurator()
  const stats = cluster.stats()
  expect(stats.underReplicatedBytes).toBe(0)
  for (const { ssd } of Object.values(stats.nodes)) expect(ssd.usedBytes / ssd.sizeBytes).toBeLessThan(0.76)
  for (let at = 0; at < bytes.length; at += MiB) {
    expect(Buffer.compare(await disk.read(at, MiB), bytes.subarray(at, at + MiB))).toBe(0)
  }
}, 60_000)
