/**
 * What a node drops when its CVM starts. Guards: copies that nobody lists go, whatever they hold; but an open and empty one stays
 * while there is no record of its egroup, since the commit that lists it may be under way.
 */
import { expect, test } from 'vitest'
import { encodeRecord, keys } from '../../src/cluster/records.ts'
import { reconcile } from '../../src/cvm/reconcile.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimCatalog } from '../../src/platform/sim/sim-catalog.ts'
import { Directory } from '../../src/replication/directory.ts'
import { memoryDevice, NODE, openStore, STREAM, Writer } from '../extent-store/harness.ts'

const NEW = 1
const WRITTEN = 2
const SEALED = 3
const SEALED_EMPTY = 4
const ELSEWHERE = 5
const LISTED = 6

test('of what is not listed, only a copy for a new egroup stays', async () => {
  const store = await openStore(memoryDevice())
  const generation = 1
  for (const egroup of [NEW, WRITTEN, SEALED, SEALED_EMPTY, ELSEWHERE, LISTED]) {
    await store.createCopy({ egroup, stream: STREAM, generation, tier: 'ssd' })
  }
  for (const egroup of [WRITTEN, SEALED]) await new Writer(egroup).append(store, [1])
  const length = store.info(SEALED)!.length
  await store.seal(SEALED, generation, length)
  await store.seal(SEALED_EMPTY, generation, 0)

  const catalog = new SimCatalog(new SimLoop(), seededRandom(3)).client('a')
  const record = (node: string) =>
    encodeRecord({
      stream: STREAM,
      order: 1,
      state: 'open',
      length: 0,
      generation,
      rf: 1,
      copies: [{ node, tier: 'ssd' }],
    })
  await catalog.commit({
    put: [
      { key: keys.egroup(ELSEWHERE), value: record('node-9') },
      { key: keys.egroup(LISTED), value: record(NODE) },
    ],
  })
  const directory = await Directory.open(catalog)
  const report = await reconcile(NODE, store, directory, true)
  expect(report.droppedCopies).toBe(4)
  expect([...store.copies()].map(({ egroup }) => egroup)).toEqual([NEW, LISTED])
  directory.close()
  await store.close()
})
