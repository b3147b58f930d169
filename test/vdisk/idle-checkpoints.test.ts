/**
 * vDisks that fall idle together, in the simulated world. Guards: they are checkpointed one at a time, and most of the time is
 * the guests'; one that is written to while it waits for its turn is left for later, and is not forgotten, whatever wrote to it.
 */
import { expect, test } from 'vitest'
import { KiB, MiB, openSimCluster, type SimCluster } from '../../src/sim.ts'

const DISKS = 30
const BLOCK = new Uint8Array(4 * KiB).fill(7)
/** Before it, no vDisk is idle for long enough. */
const IDLE_MS = 10_000

async function open() {
  const sim = await openSimCluster({
    seed: 5,
    settings: { nodes: 3, rf: 2, ssdBytes: 2048 * MiB, hddBytes: 0, curatorIntervalMs: 0 },
  })
  const disks = await Promise.all(
    Array.from({ length: DISKS }, (_, i) =>
      sim.cluster.createVDisk(`disk-${i}`, { size: 4 * MiB, node: 'node-1' }),
    ),
  )
  const busy = await sim.cluster.createVDisk('busy', { size: 4 * MiB, node: 'node-1' })
  const writeAll = () => Promise.all(disks.map((disk) => disk.write(0, BLOCK)))
  // The first writes open egroups, which takes some longer than others; the second ones end at about the same time.
  await writeAll()
  await sim.world.clock.sleep(2 * IDLE_MS)
  await writeAll()
  await sim.world.clock.sleep(IDLE_MS - 500)
  return { sim, disks, busy }
}

function owned(sim: SimCluster) {
  return [...sim.cvm('node-1')!.ownership.owned()].filter(({ name }) => name.startsWith('disk-'))
}

/** Looks every half ms at how many checkpoints run, until none of the first `count` disks has anything dirty. */
async function watch(sim: SimCluster, count: number, each: () => void): Promise<number[]> {
  const running: number[] = []
  const disks = owned(sim)
  while (running.length < 20_000) {
    each()
    running.push(disks.filter((disk) => disk['checkpointRunning'] !== undefined).length)
    if (disks.slice(0, count).every(({ map }) => map.dirtyLeaves === 0) && running.at(-1) === 0)
      return running
    await sim.world.clock.sleep(0.5)
  }
  throw new Error('not all idle vDisks were checkpointed')
}

/** From the first checkpoint to the last. */
function series(running: readonly number[]) {
  const part = running.slice(
    running.findIndex((n) => n > 0),
    running.findLastIndex((n) => n > 0) + 1,
  )
  return { share: part.filter((n) => n > 0).length / part.length, most: Math.max(...part) }
}

test('they are checkpointed one at a time, and rest for most of the time', async () => {
  const { sim, busy } = await open()
  const writes: Promise<void>[] = []
  const { share, most } = series(await watch(sim, DISKS, () => writes.push(busy.write(0, BLOCK))))
  await Promise.all(writes)
  expect(most).toBe(1)
  expect(share).toBeLessThan(0.25)
  await sim.close()
})

test('a vDisk that is written to while it waits is not idle', async () => {
  const { sim, disks, busy } = await open()
  const last = owned(sim).at(-1)!
  const before = last['checkpointAt']
  const writes: Promise<void>[] = []
  const early = await watch(sim, DISKS - 1, () => {
    writes.push(busy.write(0, BLOCK))
    if (owned(sim)[0]!.map.dirtyLeaves === 0 && writes.length % 20 === 0)
      writes.push(disks.at(-1)!.write(0, BLOCK))
  })
  expect(early.length).toBeGreaterThan(0)
  expect(last['checkpointAt']).toBe(before)
  await Promise.all(writes)
  await sim.world.clock.sleep(2 * IDLE_MS + 1_000)
  expect(last['checkpointAt']).toBeGreaterThan(before)
  expect(last.map.dirtyLeaves).toBe(0)
  await sim.close()
})

test('a vDisk that is shrunk while it waits is checkpointed later', async () => {
  const { sim, disks, busy } = await open()
  const last = owned(sim).at(-1)!
  const before = last['checkpointAt']
  const writes: Promise<void>[] = []
  let shrunk: Promise<void> | undefined
  await watch(sim, DISKS - 1, () => {
    writes.push(busy.write(0, BLOCK))
    if (last['waitsForCheckpoint']) shrunk ??= disks.at(-1)!.resize(512, { discardData: true })
  })
  await Promise.all(writes)
  await shrunk
  await sim.world.clock.sleep(3 * IDLE_MS)
  expect(shrunk).toBeDefined()
  expect(last['checkpointAt']).toBeGreaterThan(before)
  expect(last.map.dirtyLeaves).toBe(0)
  await sim.close()
})
