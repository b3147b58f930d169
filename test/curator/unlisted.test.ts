/** Copies that no record lists go, but never one that is about to be listed. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { CuratorContext } from '../../src/curator/context.ts'
import { UNLISTED_MS, Unlisted } from '../../src/curator/unlisted.ts'
import type { Cvm } from '../../src/cvm/cvm.ts'
import type { EmbeddedCluster } from '../../src/embedded/cluster.ts'
import { type Cluster, MiB } from '../../src/index.ts'
import { openTestCluster, randomBytes, until, writeAll } from './harness.ts'

let cluster: Cluster
let cvm: Cvm
let now: number
let timers: Array<{ at: number; fire: () => void }>
let unlisted: Unlisted

beforeAll(async () => {
  cluster = await openTestCluster({ nodes: 3 })
  const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
  await writeAll(disk, 0, randomBytes(18 * MiB, 1))
  cvm = (cluster as EmbeddedCluster)['members'].get('node-1')!.cvm!
})

afterAll(() => cluster.close())

beforeEach(() => {
  now = 0
  timers = []
  const clock = {
    ...cvm.platform.clock,
    now: () => now,
    after: (ms: number, fire: () => void) => {
      timers.push({ at: now + ms, fire })
      return () => {
        timers = []
      }
    },
  }
  const context: CuratorContext = { ...cvm.curator['context'], platform: { ...cvm.platform, clock } }
  unlisted = new Unlisted(context)
})

/** Takes node-1 out of the record of a sealed egroup, as a writer does that drops a slow copy. */
async function unlist(): Promise<number> {
  const sealed = [...cvm.directory.all()].find(
    ([, { value }]) => value.state === 'sealed' && value.copies.length === 2,
  )!
  await cvm.directory.update(sealed[0], (record) => ({
    ...record,
    copies: record.copies.filter((copy) => copy.node !== 'node-1'),
  }))
  return sealed[0]
}

describe('a copy that is not listed', () => {
  test('goes when it is not listed for a time either, by itself', async () => {
    const egroup = await unlist()
    await unlisted.look()
    expect(cvm.store.info(egroup)).toBeDefined()
    expect(timers).toHaveLength(1)
    now = timers[0]!.at
    timers[0]!.fire()
    await until(() => cvm.store.info(egroup) === undefined)
    expect(cvm.store.copies().length).toBeGreaterThanOrEqual(2)
  })

  test('stays when it is listed meanwhile', async () => {
    const egroup = await unlist()
    await unlisted.look()
    await cvm.directory.update(egroup, (record) => ({
      ...record,
      copies: [...record.copies, { node: 'node-1', tier: 'ssd' }],
    }))
    now += UNLISTED_MS + 1
    await unlisted.look()
    expect(cvm.store.info(egroup)).toBeDefined()
  })

  test('goes at once, whatever its kind, when its egroup leaves the directory', async () => {
    const egroup = await unlist()
    const entry = cvm.directory.get(egroup)!
    await cvm.directory.remove(egroup, entry.revision)
    await until(() => cvm.store.info(egroup) === undefined)
  })
})

test('listed copies are not looked at twice, and no timer is left', async () => {
  await unlisted.look()
  expect(timers).toEqual([])
  now += UNLISTED_MS + 1
  const before = cvm.store.copies().length
  await unlisted.look()
  expect(cvm.store.copies()).toHaveLength(before)
})
