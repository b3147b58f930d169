/**
 * When partial copies are completed. Guards: a short egroup that was read whole does not stay a partial copy for good, nor
 * one of which a little is dead, and will never be read.
 */
import { expect, test } from 'vitest'
import { KiB, MiB } from '../../src/base/units.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { openSimCluster } from '../../src/sim/cluster.ts'

const STEP = 32 * KiB

function noise(seed: number): Uint8Array {
  const random = seededRandom(seed)
  return new Uint8Array(Uint32Array.from({ length: STEP / 4 }, () => random.u32()).buffer)
}

test.each([
  { name: 'a short egroup', steps: 8, rewritten: 0 },
  { name: 'an egroup with dead slots', steps: 56, rewritten: 7 },
])('$name that was read whole is localised', async ({ steps, rewritten }) => {
  const { cluster, cvm, loop } = await opened()
  const disk = await cluster.createVDisk('d', { size: 16 * MiB, vm: 'vm', node: 'node-1' })
  for (let step = 0; step < steps; step++) await disk.write(step * STEP, noise(step))
  for (let step = 0; step < rewritten; step++) await disk.write(step * STEP, noise(1000 + step))
  const holders = [...cvm('node-1').directory.all()].flatMap(([, { value }]) => value.copies)
  const to = cluster.nodes.find((node) => !holders.some((copy) => copy.node === node))!
  await cluster.migrateVm('vm', { to })
  // Begins with a checkpoint: before one of the new owner, a takeover might need the egroup's map records.
  await cluster.runCurator()
  for (let step = 0; step < steps; step++) await disk.read(step * STEP, STEP)
  await loop.sleep(60_000)
  expect(cluster.stats().localised.egroups).toBe(1)
  expect(cluster.stats().partialBytes).toBe(0)
  await cluster.close()
})

async function opened() {
  const sim = await openSimCluster({
    seed: 5,
    settings: {
      nodes: 4,
      rf: 2,
      ssdBytes: 64 * MiB,
      hddBytes: 0,
      cacheBytes: 0,
      curatorIntervalMs: 0,
      localityPolicy: 'keep',
    },
  })
  return { cluster: sim.cluster, loop: sim.loop, cvm: (node: string) => sim.cvm(node)! }
}
