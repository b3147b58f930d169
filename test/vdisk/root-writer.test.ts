/** The replay position never moves back, whatever becomes of the commits of checkpoints and their answers. */
import { beforeEach, expect, test } from 'vitest'
import { HitherError } from '../../src/base/errors.ts'
import { decodeRecord, encodeRecord, keys, type RootRecord } from '../../src/cluster/records.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimCatalog } from '../../src/platform/sim/sim-catalog.ts'
import type { Catalog, CatalogTransaction } from '../../src/platform/types.ts'
import { RootWriter } from '../../src/vdisk/root-writer.ts'
import { UnheardCatalog } from '../cluster/unheard.ts'

const VDISK = 5
let client: Catalog
let guard: { stream: number; revision: number }

const rootAt = (order: number): RootRecord => ({
  root: { egroup: order, slot: 0 },
  levels: 1,
  replay: { order, offset: 0 },
  mappedBlocks: 1,
})

async function stored(): Promise<RootRecord> {
  return decodeRecord<RootRecord>((await client.get(keys.root(VDISK)))!.value)
}

beforeEach(async () => {
  client = new SimCatalog(new SimLoop(), seededRandom(3)).client('a')
  const { revision } = await client.commit({
    put: [
      { key: keys.owner(VDISK), value: encodeRecord({ node: 'node-1', generation: 1 }) },
      { key: keys.root(VDISK), value: encodeRecord(rootAt(1)) },
    ],
  })
  guard = { stream: VDISK, revision }
})

test.each(['answer', 'request'] as const)('a root whose %s was lost goes in once', async (loss) => {
  const lossy = new UnheardCatalog(client, 'root/')
  lossy.losses.push(loss)
  const roots = new RootWriter(lossy.catalog, guard)
  await roots.put(rootAt(2))
  await roots.put(rootAt(3))
  expect(lossy.applied).toBe(2)
  expect(await stored()).toEqual(rootAt(3))
})

/** A catalog that does not answer for a while; what it was asked to commit meanwhile may be applied at any later time. */
class CutOff {
  readonly late: CatalogTransaction[] = []
  cut = true
  readonly catalog: Catalog = {
    ...new UnheardCatalog(client, 'none').catalog,
    get: async (key) => {
      if (this.cut) throw new HitherError('TIMEOUT', 'the catalog did not answer')
      return client.get(key)
    },
    commit: async (transaction) => {
      if (!this.cut) return client.commit(transaction)
      this.late.push(transaction)
      throw new HitherError('TIMEOUT', 'the catalog did not answer')
    },
  }
}

test.each([
  'before',
  'after',
] as const)('a late root that is applied %s the next one does not win', async (when) => {
  const world = new CutOff()
  world.cut = false
  const roots = new RootWriter(world.catalog, guard)
  await roots.put(rootAt(2))
  world.cut = true
  await expect(roots.put(rootAt(3))).rejects.toMatchObject({ code: 'TIMEOUT' })
  world.cut = false
  expect(world.late).toHaveLength(1)
  if (when === 'before') expect((await client.commit(world.late[0]!)).ok).toBe(true)
  await roots.put(rootAt(4))
  if (when === 'after') expect((await client.commit(world.late[0]!)).ok).toBe(false)
  expect(await stored()).toEqual(rootAt(4))
})

test('a late root that slips in while the next one is put is replaced', async () => {
  const world = new CutOff()
  world.cut = false
  const roots = new RootWriter(world.catalog, guard)
  await roots.put(rootAt(2))
  // Applied by another client of the same owner: the known revision is stale.
  await client.commit({ put: [{ key: keys.root(VDISK), value: encodeRecord(rootAt(3)) }] })
  await roots.put(rootAt(4))
  expect(await stored()).toEqual(rootAt(4))
})

test('a deposed owner puts nothing', async () => {
  const roots = new RootWriter(client, guard)
  await client.commit({
    put: [{ key: keys.owner(VDISK), value: encodeRecord({ node: 'node-2', generation: 2 }) }],
  })
  await expect(roots.put(rootAt(2))).rejects.toMatchObject({ code: 'STALE_GENERATION' })
  expect(await stored()).toEqual(rootAt(1))
})

test('a commit on the condition of a root does not outlive it', async () => {
  const roots = new RootWriter(client, guard)
  const key = keys.snapshot(VDISK, 'kept')
  const snapshot = async () => ({
    when: [await roots.condition(), { key, revision: 0 }],
    put: [{ key, value: encodeRecord({}) }],
  })
  const late = await snapshot()
  await roots.put(rootAt(2))
  const timely = await snapshot()
  expect(await client.commit(late)).toMatchObject({ ok: false })
  expect(await client.commit(timely)).toMatchObject({ ok: true })
})
