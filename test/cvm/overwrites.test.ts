/**
 * A cluster that is mostly garbage is not full. Guards: a disk that is overwritten without a pause, faster than reclaims in the
 * background get the space back, has its writes wait for a moment and none of them refused; what it then holds is right.
 */
import { expect, test } from 'vitest'
import { KiB, MiB, openCluster } from '../../src/index.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { randomBytes } from '../curator/harness.ts'

const BLOCK = 64 * KiB
const DISK = 40 * MiB
const OVERWRITES = 8 * (DISK / BLOCK)

/** Noise that differs from that of every other number. */
const noise = (number: number): Uint8Array => randomBytes(BLOCK, number)

test('overwrites that fill a cluster with garbage wait for a reclaim, and are not refused', async () => {
  await using cluster = await openCluster('memory:', {
    nodes: 4,
    rf: 2,
    ssdBytes: 64 * MiB,
    hddBytes: 0,
    leaseTtlMs: 20_000,
  })
  const disk = await cluster.createVDisk('d', { size: DISK })
  const places = DISK / BLOCK
  const holds = new Array<number>(places).fill(0)
  const random = seededRandom(1)
  let next = 0
  const writer = async (first: number, step: number): Promise<void> => {
    while (next < OVERWRITES) {
      const number = ++next
      // Each has places of its own, so that the last write of each is known.
      const place = first + step * random.below(places / step)
      holds[place] = number
      await disk.write(place * BLOCK, noise(number))
    }
  }
  await Promise.all(Array.from({ length: 8 }, (_, i) => writer(i, 8)))
  expect(cluster.stats().written.bytes).toBe(next * BLOCK)
  for (const [place, number] of holds.entries()) {
    const bytes = await disk.read(place * BLOCK, BLOCK)
    expect(Buffer.compare(bytes, number === 0 ? new Uint8Array(BLOCK) : noise(number))).toBe(0)
  }
})
