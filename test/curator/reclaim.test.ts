/** Reclaim gives back what nothing refers to, all of it and nothing else. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Cluster, KiB, MiB } from '../../src/index.ts'
import { holds, openTestCluster, overwriteMost, randomBytes, usedBytes, writeAll } from './harness.ts'

let cluster: Cluster

beforeEach(async () => {
  cluster = await openTestCluster()
})

afterEach(() => cluster.close())

describe('reclaim', () => {
  test('a deleted vDisk gives back every byte, on devices too, its open egroup included', async () => {
    const before = usedBytes(cluster)
    const disk = await cluster.createVDisk('a', { size: 64 * MiB })
    await writeAll(disk, 0, randomBytes(10 * MiB, 1))
    await disk.close()
    await cluster.deleteVDisk('a')
    const report = await cluster.runCurator()
    expect(report.incomplete).toBeUndefined()
    expect(report.removedEgroups).toBeGreaterThanOrEqual(3)
    expect(report.reclaimedBytes).toBeGreaterThanOrEqual(20 * MiB)
    expect(cluster.stats()).toMatchObject({ storedBytes: 0, egroups: 0, copies: 0 })
    expect(usedBytes(cluster)).toBe(before)
  })

  test('overwritten egroups go, and half-dead ones are compacted on every copy; the data stays right', async () => {
    const disk = await cluster.createVDisk('a', { size: 64 * MiB })
    const bytes = randomBytes(16 * MiB, 2)
    await writeAll(disk, 0, bytes)
    await overwriteMost(disk, bytes, 1000)
    const stored = cluster.stats().storedBytes
    const report = await cluster.runCurator()
    expect(report.incomplete).toBeUndefined()
    expect(report.compactedEgroups).toBeGreaterThanOrEqual(3)
    // Two copies of 12 MiB were dead, less the last egroup, which may have to be replayed.
    expect(stored - cluster.stats().storedBytes).toBeGreaterThan(18 * MiB)
    expect(await holds(disk, 0, bytes)).toBe(true)
    // A second scan finds nothing to do.
    const again = await cluster.runCurator()
    expect(again).toMatchObject({ reclaimedBytes: 0, removedEgroups: 0, compactedEgroups: 0 })
    // Both copies: without the node that served them, the other one has all.
    const { owner } = await cluster.vdiskInfo('a')
    await cluster.failCvm(owner)
    expect(await holds(disk, 0, bytes)).toBe(true)
  })

  test('snapshots and clones keep what the vDisk has overwritten, until they go', async () => {
    const disk = await cluster.createVDisk('a', { size: 64 * MiB })
    const old = randomBytes(8 * MiB, 4)
    await writeAll(disk, 0, old)
    await disk.snapshot('s')
    const young = randomBytes(8 * MiB, 5)
    await writeAll(disk, 0, young)
    await cluster.runCurator()
    const clone = await cluster.cloneVDisk('a', 'c', { snapshot: 's' })
    await cluster.deleteSnapshot('a', 's')
    await cluster.runCurator()
    expect(await holds(clone, 0, old)).toBe(true)
    expect(await holds(disk, 0, young)).toBe(true)
    // The clone's data lies in the other vDisk's stream, which outlives it.
    await disk.close()
    await cluster.deleteVDisk('a')
    await cluster.runCurator()
    expect(await holds(clone, 0, old)).toBe(true)
    expect(cluster.stats().storedBytes).toBeLessThan(18 * MiB)
    await clone.close()
    await cluster.deleteVDisk('c')
    expect(await cluster.runCurator()).not.toHaveProperty('incomplete')
    expect(cluster.stats().storedBytes).toBe(0)
  })

  test('duplicates keep the blocks that they refer to in the stream of a deleted vDisk', async () => {
    const bytes = randomBytes(8 * MiB, 6)
    const a = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
    await writeAll(a, 0, bytes)
    await new Promise((resolve) => setTimeout(resolve, 150))
    const b = await cluster.createVDisk('b', { size: 64 * MiB, node: 'node-3' })
    await writeAll(b, 4 * MiB, bytes.subarray(2 * MiB, 6 * MiB))
    expect(cluster.stats().savedBytes.dedupe).toBe(4 * MiB)
    await a.close()
    await cluster.deleteVDisk('a')
    const report = await cluster.runCurator()
    expect(report.incomplete).toBeUndefined()
    expect(report.reclaimedBytes).toBeGreaterThan(6 * MiB)
    expect(await holds(b, 4 * MiB, bytes.subarray(2 * MiB, 6 * MiB))).toBe(true)
    // What was swept is no candidate any more: it is stored again, and reads right.
    const c = await cluster.createVDisk('c', { size: 64 * MiB, node: 'node-2' })
    await writeAll(c, 0, bytes)
    await cluster.runCurator()
    expect(await holds(c, 0, bytes)).toBe(true)
  })

  test('what was written after the checkpoint survives the loss of the owner after a reclaim', async () => {
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-2' })
    const bytes = randomBytes(8 * MiB, 7)
    await writeAll(disk, 0, bytes)
    await overwriteMost(disk, bytes, 3000)
    await cluster.runCurator()
    const late = randomBytes(64 * KiB, 8)
    await disk.write(1 * MiB, late)
    bytes.set(late, 1 * MiB)
    await cluster.failCvm('node-2')
    expect(await holds(disk, 0, bytes)).toBe(true)
  })

  test('while an owner is down and nobody has taken over, nothing is judged', async () => {
    await cluster.close()
    cluster = await openTestCluster({ leaseTtlMs: 400 })
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-2' })
    const bytes = randomBytes(6 * MiB, 9)
    await writeAll(disk, 0, bytes)
    await disk.trim(0, 6 * MiB)
    await cluster.failCvm('node-2', { hang: true })
    const report = await cluster.runCurator()
    // The hung CVM does not answer; its successor is asked when the lease has run out.
    if (report.incomplete === undefined) expect(report.removedEgroups).toBeGreaterThan(0)
    else expect(report).toMatchObject({ removedEgroups: 0, compactedEgroups: 0 })
    expect(await holds(disk, 0, new Uint8Array(6 * MiB))).toBe(true)
  })
})
