/**
 * Where IO begins. Guards: the hosts of a cluster that has just been opened, and the host of a node that was just added,
 * start on the path to their own CVM, and a new disk on the path of its home, however far the watches lag behind.
 */
import { expect, test } from 'vitest'
import { MiB } from '../../src/base/units.ts'
import { openIn } from '../../src/embedded/cluster.ts'
import { resolveSettings } from '../../src/embedded/settings.ts'
import type { VDiskHandle } from '../../src/embedded/vdisk-handle.ts'
import type { Catalog } from '../../src/platform/types.ts'
import { SimWorld } from '../../src/sim/world.ts'

const LAG_MS = 500

/** The hosts hear of every change so much later. */
class LaggingWorld extends SimWorld {
  override readonly catalog: Catalog = this.lagging(this.catalogServer.client('hosts'))

  private lagging(catalog: Catalog): Catalog {
    return new Proxy(catalog, {
      get: (target, name) => {
        if (name !== 'watch') return (target[name as keyof Catalog] as () => unknown).bind(target)
        return (prefix: string, listener: Parameters<Catalog['watch']>[1]) =>
          target.watch(prefix, (changes) => void this.clock.after(LAG_MS, () => listener(changes)))
      },
    })
  }
}

async function open() {
  const world = new LaggingWorld({ seed: 3 })
  const settings = { nodes: 4, rf: 2, ssdBytes: 64 * MiB, hddBytes: 0, curatorIntervalMs: 0 } as const
  const cluster = await openIn(world, 'sim:3', resolveSettings(settings))
  const paths = () => cluster.status().nodes.map(({ node, path }) => [node, path])
  return { world, cluster, paths }
}

const own = (count: number) => Array.from({ length: count }, (_, i) => [`node-${i + 1}`, `node-${i + 1}`])

test('hosts start on their own path, also that of a new node', async () => {
  const { world, cluster, paths } = await open()
  expect(paths()).toEqual(own(4))
  await world.clock.sleep(2 * LAG_MS)
  expect(paths()).toEqual(own(4))
  await cluster.addNode()
  expect(paths()).toEqual(own(5))
  await world.clock.sleep(2 * LAG_MS)
  expect(paths()).toEqual(own(5))
  await cluster.close()
})

test('a new disk is used on the path of its home', async () => {
  const { world, cluster } = await open()
  const disks = [
    await cluster.createVDisk('a', { size: MiB, node: 'node-3' }),
    await cluster.createVDisk('b', { size: MiB, vm: 'vm', node: 'node-4' }),
    await cluster.cloneVDisk('a', 'c', { node: 'node-2' }),
    await cluster.openVDisk('a'),
  ] as VDiskHandle[]
  const hosts = () => disks.map((disk) => disk.host)
  expect(hosts()).toEqual(['node-3', 'node-4', 'node-2', 'node-3'])
  // A VM that comes meanwhile moves nobody else.
  await cluster.createVDisk('d', { size: MiB, vm: 'other', node: 'node-1' })
  await world.clock.sleep(2 * LAG_MS)
  expect(hosts()).toEqual(['node-3', 'node-4', 'node-2', 'node-3'])
  await cluster.close()
})
