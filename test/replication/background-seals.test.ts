/** No egroup stays open because the catalog did not answer while it was sealed, or while it was added. */
import { beforeEach, expect, test } from 'vitest'
import { HitherError } from '../../src/base/errors.ts'
import { type EgroupRecord, encodeRecord, keys } from '../../src/cluster/records.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimCatalog } from '../../src/platform/sim/sim-catalog.ts'
import type { Catalog } from '../../src/platform/types.ts'
import { BackgroundSeals, type WrittenEgroup } from '../../src/replication/background-seals.ts'
import { Directory } from '../../src/replication/directory.ts'
import type { NodeStores } from '../../src/replication/node-store.ts'
import type { OwnerGuard } from '../../src/replication/owner-guard.ts'
import { UnheardCatalog } from '../cluster/unheard.ts'

const STREAM = 3
const RECORD: EgroupRecord = {
  stream: STREAM,
  order: 1,
  state: 'open',
  length: 0,
  generation: 1,
  rf: 2,
  copies: [{ node: 'node-1', tier: 'ssd' }],
}

let client: Catalog
let cut: boolean
let directory: Directory
let guard: OwnerGuard
let seals: BackgroundSeals
let sealed: number[]
let errors: string[]

beforeEach(async () => {
  client = new SimCatalog(new SimLoop(), seededRandom(3)).client('a')
  cut = false
  sealed = []
  errors = []
  const whileHeard = <T>(call: () => Promise<T>): Promise<T> =>
    cut ? Promise.reject(new HitherError('TIMEOUT', 'the catalog did not answer')) : call()
  const { revision } = await client.commit({
    put: [{ key: keys.owner(STREAM), value: encodeRecord({}) }],
  })
  guard = { stream: STREAM, revision }
  directory = await Directory.open({
    ...new UnheardCatalog(client, 'none').catalog,
    get: (key) => whileHeard(() => client.get(key)),
    commit: (transaction) => whileHeard(() => client.commit(transaction)),
  })
  const store = { seal: async (egroup: number) => void sealed.push(egroup) }
  seals = new BackgroundSeals(1, guard, {
    stores: { self: 'node-1', of: () => store } as unknown as NodeStores,
    directory,
    onError: (where) => errors.push(where),
  })
})

function group(offset: number, listed: boolean): WrittenEgroup {
  return { egroup: 9, nodes: ['node-1'], offset, listed }
}

test('a seal that the catalog did not answer is made with the next retry', async () => {
  await directory.add(9, RECORD, guard)
  cut = true
  seals.start(group(4096, true))
  await seals.settled()
  expect(errors).toEqual(['seal of egroup 9'])
  cut = false
  seals.retry()
  await seals.settled()
  expect(await directory.refresh(9)).toMatchObject({ value: { state: 'sealed', length: 4096 } })
  expect(sealed).toEqual([9])
  seals.retry()
  await seals.settled()
  expect(sealed).toEqual([9])
})

test('an egroup that is listed after its writer gave it up is sealed empty', async () => {
  seals.failed(group(0, false), new HitherError('TIMEOUT', 'the catalog did not answer'))
  seals.retry()
  await seals.settled()
  expect(sealed).toEqual([])
  // The commit that adds it is applied at last.
  await client.commit({ put: [{ key: keys.egroup(9), value: encodeRecord(RECORD) }] })
  seals.retry()
  await seals.settled()
  expect(await directory.refresh(9)).toMatchObject({ value: { state: 'sealed', length: 0 } })
  expect(sealed).toEqual([9])
})

test('a deposed owner seals nothing later', async () => {
  seals.failed(group(4096, true), new HitherError('STALE_GENERATION', 'another CVM owns it'))
  await directory.add(9, RECORD, guard)
  seals.retry()
  await seals.settled()
  expect(await directory.refresh(9)).toMatchObject({ value: { state: 'open' } })
})
