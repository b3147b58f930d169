/** The size that a vDisk is used with is the one recorded, also when the catalog does not answer. */
import { expect, test } from 'vitest'
import { decodeRecord, encodeRecord, keys, type VDiskRecord } from '../../src/cluster/records.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimCatalog } from '../../src/platform/sim/sim-catalog.ts'
import { putSize } from '../../src/vdisk/put-size.ts'
import { type Loss, UnheardCatalog } from '../cluster/unheard.ts'

const RECORD: VDiskRecord = { id: 4, name: 'a', size: 4096, container: 'default', node: 'node-1' }

async function setUp(...losses: Loss[]) {
  const client = new SimCatalog(new SimLoop(), seededRandom(3)).client('a')
  const { revision } = await client.commit({
    put: [
      { key: keys.owner(4), value: encodeRecord({}) },
      { key: keys.vdisk(4), value: encodeRecord(RECORD) },
    ],
  })
  const lossy = new UnheardCatalog(client, 'vdisk/')
  lossy.losses.push(...losses)
  return { client, catalog: lossy.catalog, guard: { stream: 4, revision } }
}

test.each<{ losses: Loss[] }>([
  { losses: ['answer'] },
  { losses: ['request', 'answer'] },
])('$losses lost: the new size is recorded and returned', async ({ losses }) => {
  const { client, catalog, guard } = await setUp(...losses)
  expect((await putSize(catalog, guard, 8192)).size).toBe(8192)
  expect(decodeRecord<VDiskRecord>((await client.get(keys.vdisk(4)))!.value)).toEqual({
    ...RECORD,
    size: 8192,
  })
})

test('a deposed owner records nothing', async () => {
  const { client, catalog, guard } = await setUp('request')
  await client.commit({ put: [{ key: keys.owner(4), value: encodeRecord({ node: 'node-2' }) }] })
  await expect(putSize(catalog, guard, 8192)).rejects.toMatchObject({ code: 'STALE_GENERATION' })
  expect(decodeRecord<VDiskRecord>((await client.get(keys.vdisk(4)))!.value)).toEqual(RECORD)
})
