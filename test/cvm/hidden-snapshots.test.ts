/** Hidden snapshots of clones do not stay, whatever the catalog or the vDisk's owner do not answer. */
import { expect, test } from 'vitest'
import { HitherError } from '../../src/base/errors.ts'
import { encodeRecord, keys } from '../../src/cluster/records.ts'
import { HiddenSnapshots } from '../../src/cvm/hidden-snapshots.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimCatalog } from '../../src/platform/sim/sim-catalog.ts'
import { UnheardCatalog } from '../cluster/unheard.ts'

const VDISK = 4

function setUp(failWith?: 'TIMEOUT' | 'ALREADY_EXISTS') {
  const client = new SimCatalog(new SimLoop(), seededRandom(3)).client('a')
  const lossy = new UnheardCatalog(client, 'snapshot/')
  let failure = failWith
  const hidden = new HiddenSnapshots(lossy.catalog, seededRandom(5), async (vdisk, name) => {
    await client.commit({ put: [{ key: keys.snapshot(vdisk, name), value: encodeRecord({}) }] })
    const code = failure
    failure = undefined
    if (code !== undefined) throw new HitherError(code, 'the owner did not answer')
  })
  const names = async () => (await client.list(keys.snapshots(VDISK))).map(({ key }) => key)
  return { client, lossy, hidden, names }
}

test('a snapshot that was taken unheard goes, and the failure is told', async () => {
  const { hidden, names } = setUp('TIMEOUT')
  await expect(hidden.with(VDISK, async () => 'clone')).rejects.toMatchObject({ code: 'TIMEOUT' })
  expect(await names()).toEqual([])
})

test('a snapshot that an attempt before has taken is used', async () => {
  const { hidden, names } = setUp('ALREADY_EXISTS')
  expect(await hidden.with(VDISK, async () => 'clone')).toBe('clone')
  expect(await names()).toEqual([])
})

test('one that could not be removed does not fail its clone, and goes with the next', async () => {
  const { client, lossy, hidden, names } = setUp()
  await client.commit({ put: [{ key: keys.snapshot(VDISK, 'kept'), value: encodeRecord({}) }] })
  lossy.losses.push('request')
  expect(await hidden.with(VDISK, async () => 'clone')).toBe('clone')
  expect(await names()).toHaveLength(2)
  expect(await hidden.with(VDISK, async () => 'clone')).toBe('clone')
  expect(await names()).toEqual([keys.snapshot(VDISK, 'kept')])
})
