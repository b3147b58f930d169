/**
 * Changes of an owner whose commit is applied without an answer, or lost, on a real cluster. Guards: a takeover whose
 * claim was not heard of starts over under a higher generation and loses nothing; a hand-over still tells its target.
 */
import { expect, test } from 'vitest'
import type { Cvm } from '../../src/cvm/cvm.ts'
import type { EmbeddedCluster } from '../../src/embedded/cluster.ts'
import { MiB, openCluster } from '../../src/index.ts'
import { type Loss, UnheardCatalog } from '../cluster/unheard.ts'

const BYTES = Uint8Array.from({ length: 8192 }, (_, i) => (i * 7 + (i >> 8)) & 255)

/** What befalls the next changes of an owner that `node` commits. */
function lose(cluster: EmbeddedCluster, node: string, ...losses: Loss[]): UnheardCatalog {
  const { catalog } = (cluster.cvm(node) as Cvm).platform
  const commit = catalog.commit.bind(catalog)
  const lossy = new UnheardCatalog({ ...catalog, commit }, 'owner/')
  lossy.losses.push(...losses)
  catalog.commit = lossy.catalog.commit
  return lossy
}

async function opened() {
  const cluster = (await openCluster('memory:', {
    nodes: 3,
    rf: 2,
    ssdBytes: 64 * MiB,
    hddBytes: 0,
  })) as EmbeddedCluster
  const disk = await cluster.createVDisk('a', { size: 8 * MiB, vm: 'vm', node: 'node-1' })
  await disk.write(0, BYTES)
  const generation = (await cluster.vdiskInfo('a')).generation
  return { cluster, disk, generation }
}

test.each(['answer', 'request'] as const)('a claim whose %s was lost is made anew', async (loss) => {
  const { cluster, disk, generation } = await opened()
  const lossy = lose(cluster, 'node-2', loss)
  await cluster.migrateVm('vm', { to: 'node-2' })
  expect(lossy.losses).toEqual([])
  const read = new Uint8Array(BYTES.length)
  await disk.readInto(0, read)
  expect(read).toEqual(BYTES)
  await disk.write(0, BYTES.slice().reverse())
  const info = await cluster.vdiskInfo('a')
  expect(info.owner).toBe('node-2')
  // One for the hand-over, one for each claim that was applied.
  expect(info.generation).toBe(generation + 1 + lossy.applied)
  expect(lossy.applied).toBe(loss === 'answer' ? 2 : 1)
  await cluster.close()
})

test.each([
  'answer',
  'request',
] as const)('a hand-over whose %s was lost reaches its target', async (loss) => {
  const { cluster, disk, generation } = await opened()
  const lossy = lose(cluster, 'node-1', loss)
  await cluster.migrateVm('vm', { to: 'node-2' })
  expect(lossy.losses).toEqual([])
  expect(lossy.applied).toBe(1)
  // It serves before the first IO: it was told.
  expect(cluster.cvm('node-2')!.ownership.get((await cluster.vdiskInfo('a')).id)).toBeDefined()
  expect(await cluster.vdiskInfo('a')).toMatchObject({ owner: 'node-2', generation: generation + 2 })
  const read = new Uint8Array(BYTES.length)
  await disk.readInto(0, read)
  expect(read).toEqual(BYTES)
  await cluster.close()
})
