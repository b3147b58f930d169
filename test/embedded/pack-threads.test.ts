/** Large writes that several threads compress. Guards: the same bytes are stored, and read back, as with one thread. */
import { expect, test } from 'vitest'
import { MiB, openCluster } from '../../src/index.ts'

const WRITES = 12

/** 1 MiB: zeros, text-like data, noise and repeats, different in each call. */
function contents(number: number): Uint8Array {
  const bytes = new Uint8Array(MiB)
  let state = number + 1
  for (let at = 64 * 1024; at < bytes.length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    bytes[at] = (state >>> 24) & (at % 131_072 < 65_536 ? 0x07 : 0xff)
  }
  if (number > 0) bytes.set(contents(0).subarray(0, 192 * 1024), 400 * 1024)
  return bytes
}

async function stored(packThreads: number): Promise<number> {
  await using cluster = await openCluster('memory:', { nodes: 3, rf: 2, packThreads, curatorIntervalMs: 0 })
  const disk = await cluster.createVDisk('d', { size: 32 * MiB })
  const all = Array.from({ length: WRITES }, (_, i) => contents(i))
  await disk.write(0, all[0]!)
  // Some together, some one by one, one of them in two pieces and with edges.
  await Promise.all(all.slice(1, 7).map((bytes, i) => disk.write((i + 1) * MiB, bytes)))
  for (let i = 7; i < WRITES; i++) await disk.write(i * MiB, all[i]!)
  await disk.write(20 * MiB + 100, Buffer.concat([all[3]!, all[4]!]))
  for (let i = 0; i < WRITES; i++) {
    expect(Buffer.compare(await disk.read(i * MiB, MiB), all[i]!)).toBe(0)
  }
  const long = await disk.read(20 * MiB + 100, 2 * MiB)
  expect(Buffer.compare(long, Buffer.concat([all[3]!, all[4]!]))).toBe(0)
  return cluster.stats().storedBytes
}

test('many threads store what one stores', async () => {
  const one = await stored(0)
  const many = await stored(3)
  // Which writes share a frame, and so tables and padding, is a matter of time.
  expect(Math.abs(many - one) / one).toBeLessThan(0.01)
})
