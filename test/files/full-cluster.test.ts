/**
 * A full cluster refuses what needs room, and lets files be removed; what they held can be used again. Guards: the
 * table of the file system finds room when user data does not.
 */
import { expect, test } from 'vitest'
import { MiB } from '../../src/base/units.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { openSimCluster } from '../../src/sim/cluster.ts'

const ROOT = 1
const name = (text: string) => Buffer.from(text)

function noise(seed: number): Uint8Array {
  const random = seededRandom(seed)
  return new Uint8Array(Uint32Array.from({ length: MiB / 4 }, () => random.u32()).buffer)
}

test('files can be removed in a full cluster, and others written then', async () => {
  const sim = await openSimCluster({
    seed: 1,
    settings: { nodes: 3, ssdBytes: 64 * MiB, hddBytes: 0, curatorIntervalMs: 0 },
  })
  const { cluster } = sim
  try {
    const fs = await cluster.files('node-1').fileSystem('default')
    const codes: unknown[] = []
    let last = -1
    for (let i = 0; i < 300 && codes.length === 0; i++) {
      try {
        const { file } = await fs.createFile(ROOT, name(`f${i}`), {}, { how: 'guarded' })
        last = i
        await fs.write(file.id, 0, noise(i))
      } catch (error) {
        codes.push((error as { code: unknown }).code)
      }
    }
    expect(codes).toEqual(['NO_SPACE'])
    expect(last).toBeGreaterThan(30)
    for (let i = 0; i <= last; i++) await fs.remove(ROOT, name(`f${i}`))
    expect((await fs.list(ROOT, 0, 10)).entries).toEqual([])
    await cluster.runCurator()
    await cluster.runCurator()
    const { file } = await fs.createFile(ROOT, name('again'), {}, { how: 'guarded' })
    await fs.write(file.id, 0, noise(1))
  } finally {
    await sim.close()
  }
}, 60_000)
