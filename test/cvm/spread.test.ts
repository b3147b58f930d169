/**
 * Where new copies go while a peer's published usage is out of date. Guards: what was placed on a peer since then counts,
 * so that a fast writer fills its peers evenly, and the cluster is not full while one of them is half empty.
 */
import { expect, test } from 'vitest'
import { MiB, openCluster } from '../../src/index.ts'

const PIECE = 64 * 1024

test('the second copies of one fast writer are spread evenly over its peers', async () => {
  await using cluster = await openCluster('memory:', { nodes: 3, rf: 2, curatorIntervalMs: 0 })
  const disk = await cluster.createVDisk('d', { size: 64 * MiB, node: 'node-1' })
  for (let at = 0; at < 48 * MiB; at += PIECE) {
    await disk.write(at, crypto.getRandomValues(new Uint8Array(PIECE)))
  }
  const { nodes } = cluster.stats()
  const [own, ...peers] = ['node-1', 'node-2', 'node-3'].map((node) => nodes[node]!.ssd.usedBytes)
  expect(own).toBeGreaterThan(48 * MiB)
  // An egroup is 4 MiB; one more is opened ahead.
  expect(Math.abs(peers[0]! - peers[1]!)).toBeLessThan(2 * 4.2 * MiB)
})
