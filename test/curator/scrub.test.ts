/** Scrub finds what has rotted, and puts it right from another copy. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { EmbeddedCluster } from '../../src/embedded/cluster.ts'
import { type Cluster, type ClusterEvent, MiB, type VDisk } from '../../src/index.ts'
import type { FaultDevice } from '../../src/platform/faults/fault-device.ts'
import { holds, openTestCluster, randomBytes, recordEvents, writeAll } from './harness.ts'

let cluster: Cluster
let disk: VDisk
let events: ClusterEvent[]
let bytes: Uint8Array

beforeEach(async () => {
  cluster = await openTestCluster({ nodes: 2, cacheBytes: 0, ssdBytes: 96 * MiB })
  events = recordEvents(cluster)
  disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
  bytes = randomBytes(9 * MiB, 1)
  await writeAll(disk, 0, bytes)
})

afterEach(() => cluster.close())

function member(node: string) {
  return (cluster as EmbeddedCluster)['members'].get(node)!
}

function deviceOf(node: string): FaultDevice {
  return member(node)['rack']['open'].get(`${node}.ssd0`)!
}

/** Device offset of the first bytes of what was written at `offset`. */
async function locate(node: string, offset: number): Promise<number> {
  const device = deviceOf(node)
  const wanted = bytes.subarray(offset, offset + 64)
  const chunk = new Uint8Array(4 * MiB)
  for (let at = 0; at + chunk.length <= device.size; at += chunk.length) {
    await device.read(at, chunk)
    const found = Buffer.from(chunk.buffer).indexOf(wanted)
    if (found >= 0) return at + found
  }
  throw new Error(`${node} does not have the bytes at ${offset}`)
}

test('rotten slices are repaired on each copy, even when both copies have some', async () => {
  await deviceOf('node-1').corrupt(await locate('node-1', 1 * MiB), 100)
  await deviceOf('node-1').corrupt(await locate('node-1', 2 * MiB), 5000)
  await deviceOf('node-2').corrupt(await locate('node-2', 3 * MiB), 1)
  const report = await cluster.runCurator()
  expect(report.incomplete).toBeUndefined()
  expect(report.repairedSlices).toBe(3)
  expect(report.scrubbedBytes).toBeGreaterThan(11 * MiB)
  expect(cluster.stats()).toMatchObject({ corruptSlices: 3, repairedSlices: 3 })
  expect(events.filter((event) => event.type === 'copy-corrupt').length).toBeGreaterThanOrEqual(2)
  expect(events.filter((event) => event.type === 'copy-repaired').length).toBeGreaterThanOrEqual(2)
  const again = await cluster.runCurator()
  expect(again.repairedSlices).toBe(0)
  expect(cluster.stats().corruptSlices).toBe(3)
  await cluster.failCvm('node-1')
  expect(await holds(disk, 0, bytes)).toBe(true)
})

test('a copy with a damaged frame head is taken anew from the other node', async () => {
  // A frame starts on the sector before its first slice, or somewhat earlier, with its tables.
  const first = await locate('node-1', 0)
  await deviceOf('node-1').corrupt(first - 256, 64)
  const report = await cluster.runCurator()
  expect(report.repairedSlices).toBeGreaterThan(0)
  expect((await cluster.runCurator()).repairedSlices).toBe(0)
  await cluster.failCvm('node-2')
  expect(await holds(disk, 0, bytes)).toBe(true)
})

test('a copy that is listed and not there is made again', async () => {
  const { store, directory } = member('node-1').cvm!
  const lost = [...directory.all()].find(([, { value }]) => value.state === 'sealed')![0]
  await store.dropCopy(lost)
  await cluster.runCurator()
  expect(store.info(lost)).toMatchObject({ kind: 'full', state: 'sealed' })
  await cluster.failCvm('node-2')
  expect(await holds(disk, 0, bytes)).toBe(true)
})

test('what is bad on every copy stays as it is, is told, and does not hide the rest', async () => {
  await deviceOf('node-1').corrupt(await locate('node-1', 1 * MiB), 100)
  await deviceOf('node-2').corrupt(await locate('node-2', 1 * MiB), 100)
  await deviceOf('node-2').corrupt(await locate('node-2', 2 * MiB), 100)
  const report = await cluster.runCurator()
  expect(report.repairedSlices).toBe(1)
  await expect(disk.read(1 * MiB, 4096)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' })
  expect(await holds(disk, 2 * MiB, bytes.subarray(2 * MiB))).toBe(true)
})
