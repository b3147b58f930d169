/**
 * Reclaim beside dedupe-heavy writes, snapshots, clones, migrations and failing CVMs: no read is ever wrong, and nothing
 * is swept unless every CVM has taken part to the end.
 */
import { describe, expect, test } from 'vitest'
import type { Cvm } from '../../src/cvm/cvm.ts'
import type { EmbeddedCluster } from '../../src/embedded/cluster.ts'
import { type Cluster, KiB, MiB, type VDisk } from '../../src/index.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { METHOD } from '../../src/replication/methods.ts'
import {
  holds,
  openTestCluster,
  overwriteMost,
  randomBytes,
  recordEvents,
  until,
  writeAll,
} from './harness.ts'

const BLOCK = 4 * KiB
const DISK_BLOCKS = 256
/** Contents of a block; those of one wave are in use at a time, so that the others die, and are written again later. */
const PATTERNS = 240
const WAVES = 2
const PER_WAVE = PATTERNS / WAVES

/** Contents by number; 0 is all zeros. Incompressible, so that dead ones take space worth reclaiming. */
const patterns = Array.from({ length: PATTERNS + 1 }, (_, i) =>
  i === 0 ? new Uint8Array(BLOCK) : randomBytes(BLOCK, 7000 + i),
)

/** A disk and what it must hold. */
interface Model {
  readonly disk: VDisk
  readonly blocks: Uint16Array
}

interface Weather {
  wave: number
  over: boolean
}

async function verify({ disk, blocks }: Model): Promise<void> {
  const bytes = await disk.read(0, DISK_BLOCKS * BLOCK)
  for (let block = 0; block < DISK_BLOCKS; block++) {
    const found = bytes.subarray(block * BLOCK, (block + 1) * BLOCK)
    if (Buffer.compare(found, patterns[blocks[block]!]!) !== 0) {
      throw new Error(`block ${block} of ${disk.name} is wrong`)
    }
  }
}

/** Writes runs of random contents of the wave until it is over; a new wave starts on an empty disk. */
async function churn({ disk, blocks }: Model, seed: number, weather: Weather): Promise<number> {
  const random = seededRandom(seed)
  let writes = 0
  let wave = -1
  while (!weather.over) {
    if (wave !== weather.wave) {
      wave = weather.wave
      blocks.fill(0)
      await disk.trim(0, DISK_BLOCKS * BLOCK)
    }
    const count = 1 + random.below(16)
    const start = random.below(DISK_BLOCKS - count)
    const bytes = new Uint8Array(count * BLOCK)
    for (let i = 0; i < count; i++) {
      const pattern = 1 + (wave % WAVES) * PER_WAVE + random.below(PER_WAVE)
      blocks[start + i] = pattern
      bytes.set(patterns[pattern]!, i * BLOCK)
    }
    await disk.write(start * BLOCK, bytes)
    writes++
  }
  return writes
}

async function makeDisks(cluster: Cluster): Promise<Model[]> {
  return Promise.all(
    ['node-1', 'node-2', 'node-3', 'node-4'].map(async (node, i) => ({
      disk: await cluster.createVDisk(`d${i}`, { size: DISK_BLOCKS * BLOCK, vm: `vm${i}`, node }),
      blocks: new Uint16Array(DISK_BLOCKS),
    })),
  )
}

function cvmOf(cluster: Cluster, node: string): Cvm {
  return (cluster as EmbeddedCluster)['members'].get(node)!.cvm!
}

function failed(cluster: Cluster, node: string): Promise<boolean> {
  return cluster.failCvm(node).then(
    () => true,
    () => false,
  )
}

async function restart(cluster: Cluster, node: string): Promise<void> {
  // On a busy machine a CVM may have lost its short lease by itself, and be on its way back.
  while (!(await failed(cluster, node))) await new Promise((resolve) => setTimeout(resolve, 20))
  await cluster.recoverCvm(node)
}

test('duplicates that are written while reclaims run are never lost', async () => {
  const cluster = await openTestCluster()
  const events = recordEvents(cluster)
  const models = await makeDisks(cluster)
  const weather: Weather = { wave: 0, over: false }
  const writers = models.map((model, i) => churn(model, 100 + i, weather))
  let reclaimed = 0
  let complete = 0
  const random = seededRandom(5)
  for (let round = 0; round < 20; round++) {
    // Moves seal the logs, so that a wave's data is mostly in egroups of its own, which the next scan can judge.
    await Promise.all(
      models.map((_, i) => cluster.migrateVm(`vm${i}`, { to: `node-${((round + i) % 4) + 1}` })),
    )
    if (round % 8 === 0) {
      const clone = await cluster.cloneVDisk(models[0]!.disk.name, `clone${round}`)
      await clone.close()
    }
    if (round % 8 === 4) await cluster.deleteVDisk(`clone${round - 4}`)
    // In the midst of the scan, what had been dead since the last one is written again.
    const scan = cluster.runCurator()
    await new Promise((resolve) => setTimeout(resolve, random.below(12)))
    weather.wave++
    const report = await scan
    reclaimed += report.reclaimedBytes
    if (report.incomplete === undefined) complete++
  }
  weather.over = true
  expect(Math.min(...(await Promise.all(writers)))).toBeGreaterThan(20)
  for (const model of models) await verify(model)
  expect(complete).toBeGreaterThanOrEqual(15)
  expect(reclaimed).toBeGreaterThan(1 * MiB)
  expect(cluster.stats().savedBytes.dedupe).toBeGreaterThan(4 * MiB)
  // Again without their owners' caches, from the devices.
  await Promise.all(models.map((_, i) => cluster.migrateVm(`vm${i}`, { to: `node-${i + 1}` })))
  for (const model of models) await verify(model)
  expect(events.filter((event) => event.type === 'error')).toEqual([])
  await cluster.close()
})

test('CVMs that die while reclaims run cost no data, and the next scan is complete', async () => {
  const cluster = await openTestCluster({ leaseTtlMs: 300 })
  const models = await makeDisks(cluster)
  const weather: Weather = { wave: 0, over: false }
  const writers = models.map((model, i) => churn(model, 200 + i, weather))
  for (let round = 0; round < 4; round++) {
    const victim = `node-${round + 1}`
    // A leader that is killed never answers.
    void cluster.runCurator().catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, 2 + round * 3))
    await restart(cluster, victim)
    weather.wave++
    await until(() => cluster.status().nodes.every((node) => node.cvm === 'up'))
  }
  weather.over = true
  await Promise.all(writers)
  for (const model of models) await verify(model)
  const last = await cluster.runCurator()
  expect(last.incomplete).toBeUndefined()
  for (const model of models) await verify(model)
  await cluster.close()
})

describe('a write that finds a dead block while it is judged', () => {
  const dead = randomBytes(256 * KiB, 21)

  /** `b` is another disk, on another node; what `a` held first is dead, and in an egroup that is about to be swept. */
  async function withDeadBlocks(work: (cluster: Cluster, b: VDisk) => Promise<void>): Promise<void> {
    const cluster = await openTestCluster({ cacheBytes: 0 })
    const a = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
    const b = await cluster.createVDisk('b', { size: 64 * MiB, node: 'node-2' })
    await writeAll(a, 0, dead)
    await writeAll(a, 1 * MiB, randomBytes(6 * MiB, 22))
    await a.trim(0, 7 * MiB)
    await new Promise((resolve) => setTimeout(resolve, 100))
    await work(cluster, b)
    expect(cluster.stats().savedBytes.dedupe).toBe(dead.length)
    // From the devices: there is no cache.
    expect(await holds(b, 0, dead)).toBe(true)
    await cluster.close()
  }

  test('keeps it, when the write comes after the marks', () =>
    withDeadBlocks(async (cluster, b) => {
      const leader = cvmOf(cluster, 'node-1')
      const original = leader.rpc.call.bind(leader.rpc)
      let written: Promise<void> | undefined
      leader.rpc.call = async <T>(...args: Parameters<typeof original>) => {
        if (args[1] === METHOD.forgetSlots) {
          written ??= b.write(0, dead)
          await written
        }
        return original<T>(...args)
      }
      expect(await leader.curator['reclaim'].run(leader.curator['pace'](true))).not.toHaveProperty(
        'incomplete',
      )
      expect(written).toBeDefined()
    }))

  test('keeps it, when the write had found it before the reclaim began, and ends after the marks', () =>
    withDeadBlocks(async (cluster, b) => {
      const leader = cvmOf(cluster, 'node-1')
      const { reader } = cvmOf(cluster, 'node-2')
      const original = reader.read.bind(reader)
      let release = () => {}
      const gate = new Promise<void>((resolve) => {
        release = resolve
      })
      let found = 0
      reader.read = async (egroup, slots) => {
        const slices = await original(egroup, slots)
        if (found++ === 0) await gate
        return slices
      }
      const write = b.write(0, dead)
      await until(() => found > 0)
      const reclaim = leader.curator['reclaim'].run(leader.curator['pace'](true))
      await new Promise((resolve) => setTimeout(resolve, 200))
      release()
      await write
      expect(await reclaim).not.toHaveProperty('incomplete')
    }))

  test('stores it again, when the write comes after the sweep', async () => {
    const cluster = await openTestCluster()
    const a = await cluster.createVDisk('a', { size: 64 * MiB, vm: 'vm', node: 'node-1' })
    const b = await cluster.createVDisk('b', { size: 64 * MiB, node: 'node-2' })
    await writeAll(a, 0, dead)
    await writeAll(a, 1 * MiB, randomBytes(6 * MiB, 22))
    // Its fingerprints are on the other node soon, and the cache of this one has the blocks.
    await a.read(0, dead.length)
    await a.trim(0, 7 * MiB)
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect((await cluster.runCurator()).removedEgroups).toBeGreaterThan(0)
    await b.write(0, dead)
    await a.write(0, dead)
    // Read where no cache helps.
    await cluster.migrateVm('vm', { to: 'node-3' })
    expect(await holds(b, 0, dead)).toBe(true)
    expect(await holds(a, 0, dead)).toBe(true)
    await cluster.close()
  })
})

describe('a CVM that restarts puts the reclaim off', () => {
  /** Runs `disturb` once at a point of the leader's reclaim that `hook` picks. */
  async function disturbed(hook: (leader: Cvm, disturb: () => Promise<void>) => void): Promise<void> {
    const cluster = await openTestCluster()
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
    const bytes = randomBytes(8 * MiB, 11)
    await writeAll(disk, 0, bytes)
    await overwriteMost(disk, bytes, 5000)
    const leader = cvmOf(cluster, 'node-1')
    let done = false
    hook(leader, async () => {
      if (done) return
      done = true
      await restart(cluster, 'node-3')
    })
    const stored = cluster.stats().storedBytes
    const result = await leader.curator['reclaim'].run(leader.curator['pace'](true))
    expect(done).toBe(true)
    expect(result).toMatchObject({ removedEgroups: 0, compactedEgroups: 0, reclaimedBytes: 0 })
    expect(result.incomplete).toContain('put off')
    expect(cluster.stats().storedBytes).toBeGreaterThanOrEqual(stored)
    const next = await leader.curator['reclaim'].run(leader.curator['pace'](true))
    expect(next.incomplete).toBeUndefined()
    expect(next.reclaimedBytes).toBeGreaterThan(0)
    expect(await holds(disk, 0, bytes)).toBe(true)
    await cluster.close()
  }

  test('between begin and the marks', () =>
    disturbed((leader, disturb) => {
      const original = leader.ids.egroupWatermark.bind(leader.ids)
      leader.ids.egroupWatermark = async () => {
        await disturb()
        return original()
      }
    }))

  test('after it has answered, before the decision', () =>
    disturbed((leader, disturb) => {
      const original = leader.rpc.call.bind(leader.rpc)
      leader.rpc.call = async <T>(...args: Parameters<typeof original>) => {
        const answer = await original<T>(...args)
        if (args[0] === 'node-3' && args[1] === METHOD.forgetSlots) await disturb()
        return answer
      }
    }))
})
