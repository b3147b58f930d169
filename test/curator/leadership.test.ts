/** The leader's key, when the catalog does not answer the commits that put it or mark it idle. */
import { expect, test } from 'vitest'
import type { Membership } from '../../src/cluster/membership.ts'
import { decodeRecord } from '../../src/cluster/records.ts'
import { asLeader } from '../../src/curator/leadership.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimCatalog } from '../../src/platform/sim/sim-catalog.ts'
import type { Catalog } from '../../src/platform/types.ts'
import { type Loss, UnheardCatalog } from '../cluster/unheard.ts'

async function isIdle(catalog: Catalog): Promise<boolean> {
  const entry = await catalog.get('leader/curator')
  return (decodeRecord<{ idle?: true }>(entry!.value).idle ?? false) as boolean
}

const membership = { incarnation: 'node-1-a' } as Membership

test.each<{ name: string; losses: Loss[] }>([
  { name: 'a claim that was applied unheard', losses: ['answer'] },
  { name: 'a claim that was lost', losses: ['request'] },
])('$name is made, and the key is idle afterwards', async ({ losses }) => {
  const client = new SimCatalog(new SimLoop(), seededRandom(3)).client('a')
  await client.grantLease(membership.incarnation, 60_000)
  const lossy = new UnheardCatalog(client, 'leader/')
  lossy.losses.push(...losses)
  expect(await asLeader(lossy.catalog, membership, async () => 'done')).toBe('done')
  expect(await isIdle(client)).toBe(true)
})

test('the outcome of the work is told although the key could not be marked', async () => {
  const client = new SimCatalog(new SimLoop(), seededRandom(3)).client('a')
  await client.grantLease(membership.incarnation, 60_000)
  const lossy = new UnheardCatalog(client, 'leader/')
  const work = async () => {
    lossy.losses.push('request', 'request', 'request')
    return 'done'
  }
  expect(await asLeader(lossy.catalog, membership, work)).toBe('done')
  expect(await isIdle(client)).toBe(false)
  // It is this CVM's still.
  expect(await asLeader(lossy.catalog, membership, async () => 'again')).toBe('again')
  expect(await isIdle(client)).toBe(true)
})

test('a claim that arrives after the work was done makes nobody a leader', async () => {
  const client = new SimCatalog(new SimLoop(), seededRandom(3)).client('a')
  await client.grantLease(membership.incarnation, 60_000)
  const lossy = new UnheardCatalog(client, 'leader/')
  lossy.losses.push('late')
  expect(await asLeader(lossy.catalog, membership, async () => 'done')).toBe('done')
  expect(await lossy.arrive()).toEqual([false])
  expect(await isIdle(client)).toBe(true)
})
