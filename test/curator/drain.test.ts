/** A drained node holds nothing that anybody needs; one that is needed is not drained. */
import { describe, expect, test } from 'vitest'
import { refusal } from '../../src/curator/drain-check.ts'
import type { EmbeddedCluster } from '../../src/embedded/cluster.ts'
import { MiB } from '../../src/index.ts'
import { holds, openTestCluster, randomBytes, recordEvents, until, writeAll } from './harness.ts'

describe('removing a node', () => {
  test('moves its VMs, vDisks and copies away under load, and loses nothing', async () => {
    const cluster = await openTestCluster()
    const events = recordEvents(cluster)
    const mine = await cluster.createVDisk('mine', { size: 64 * MiB, vm: 'vm1', node: 'node-2' })
    const other = await cluster.createVDisk('other', { size: 64 * MiB, node: 'node-1' })
    const bytes = randomBytes(9 * MiB, 1)
    await writeAll(mine, 0, bytes)
    await writeAll(other, 0, bytes.subarray(0, 5 * MiB))
    let over = false
    const late = randomBytes(MiB, 2)
    const writer = (async () => {
      while (!over) await other.write(16 * MiB, late)
    })()
    await cluster.removeNode('node-2')
    over = true
    await writer
    expect(cluster.nodes).toEqual(['node-1', 'node-3', 'node-4'])
    const [vm] = await cluster.listVms()
    expect(vm!.node).not.toBe('node-2')
    const info = await cluster.vdiskInfo('mine')
    expect(info.home).toBe(vm!.node)
    expect(info.owner).not.toBe('node-2')
    await mine.close()
    const again = await cluster.openVDisk('mine')
    expect(await holds(again, 0, bytes)).toBe(true)
    expect(await holds(other, 0, bytes.subarray(0, 5 * MiB))).toBe(true)
    expect(await holds(other, 16 * MiB, late)).toBe(true)
    expect(cluster.stats().underReplicatedBytes).toBe(0)
    const { directory } = (cluster as EmbeddedCluster)['members'].get('node-1')!.cvm!
    for (const [, { value }] of directory.all()) {
      expect(value.copies.map((copy) => copy.node)).not.toContain('node-2')
    }
    // RF2 without it: another node may be lost.
    await cluster.failCvm(info.owner)
    expect(await holds(again, 0, bytes)).toBe(true)
    await until(() => events.some((event) => event.type === 'node-removed'))
    expect(events.filter((event) => event.type === 'error')).toEqual([])
    await cluster.close()
  })

  test('is refused when RF could not be kept, and changes nothing', async () => {
    const cluster = await openTestCluster({ nodes: 2 })
    const disk = await cluster.createVDisk('a', { size: 64 * MiB, vm: 'vm1', node: 'node-2' })
    await writeAll(disk, 0, randomBytes(5 * MiB, 3))
    const before = { vdisks: await cluster.listVDisks(), vms: await cluster.listVms() }
    await expect(cluster.removeNode('node-2')).rejects.toMatchObject({ code: 'UNSAFE' })
    expect({ vdisks: await cluster.listVDisks(), vms: await cluster.listVms() }).toEqual(before)
    expect(cluster.status().nodes.map((node) => node.cvm)).toEqual(['up', 'up'])
    await cluster.close()
  })
})

describe('the check before a drain', () => {
  const members = (free: number[], blocks = ['b1', 'b2', 'b3', 'b4']) =>
    free.map((freeBytes, i) => ({
      node: `node-${i + 1}`,
      block: blocks[i]!,
      up: true,
      freeBytes,
    }))

  test('counts nodes that are up', () => {
    const three = members([MiB * 100, MiB * 100, MiB * 100])
    expect(refusal({ node: 'node-1', rf: 2, bytes: 0, members: three })).toBeUndefined()
    expect(refusal({ node: 'node-1', rf: 3, bytes: 0, members: three })).toContain('as many nodes')
    three[1]!.up = false
    expect(refusal({ node: 'node-1', rf: 2, bytes: 0, members: three })).toContain('as many nodes')
  })

  test('keeps failure domains', () => {
    const paired = members([MiB * 100, MiB * 100, MiB * 100], ['b1', 'b1', 'b2'])
    expect(refusal({ node: 'node-3', rf: 2, bytes: 0, members: paired })).toContain('blocks')
    expect(refusal({ node: 'node-2', rf: 2, bytes: 0, members: paired })).toBeUndefined()
  })

  test('counts room', () => {
    const tight = members([0, MiB * 10, MiB * 10])
    expect(refusal({ node: 'node-1', rf: 2, bytes: MiB * 20, members: tight })).toBeUndefined()
    expect(refusal({ node: 'node-1', rf: 2, bytes: MiB * 21, members: tight })).toContain('room')
  })
})
