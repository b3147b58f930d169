/** Commits that are applied without an answer, or lost: ids, the cached records, the lease, the published space. */
import { beforeEach, describe, expect, it } from 'vitest'
import { IdAllocator } from '../../src/cluster/ids.ts'
import { Membership } from '../../src/cluster/membership.ts'
import { encodeRecord, keys } from '../../src/cluster/records.ts'
import { RecordsView } from '../../src/cluster/records-view.ts'
import { Space } from '../../src/cvm/space.ts'
import type { ExtentStore } from '../../src/extent-store/extent-store.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimCatalog } from '../../src/platform/sim/sim-catalog.ts'
import { SimClock } from '../../src/platform/sim/sim-clock.ts'
import type { Catalog } from '../../src/platform/types.ts'
import { UnheardCatalog } from './unheard.ts'

const TTL_MS = 2_000

let loop: SimLoop
let server: SimCatalog

beforeEach(() => {
  loop = new SimLoop()
  server = new SimCatalog(loop, seededRandom(7))
})

function platformOf(catalog: Catalog, seed: number) {
  return { node: 'node-1', clock: new SimClock(loop), random: seededRandom(seed), catalog }
}

async function member(
  catalog: Catalog,
  seed: number,
): Promise<{ membership: Membership; lost: () => boolean }> {
  let lost = false
  const membership = await Membership.open(platformOf(catalog, seed), TTL_MS, () => {
    lost = true
  })
  return { membership, lost: () => lost }
}

describe('IdAllocator', () => {
  it('hands out no id twice when the answers to its commits are lost', async () => {
    const lossy = new UnheardCatalog(server.client('a'), 'next/')
    lossy.losses.push('answer', 'request', 'answer')
    const ids = new IdAllocator(lossy.catalog)
    const others = new IdAllocator(server.client('b'))
    const seen: number[] = []
    for (let i = 0; i < 130; i++) seen.push(await ids.egroup(), await others.egroup())
    lossy.losses.push('answer')
    const vdisks = [await ids.vdisk(), await others.vdisk(), await ids.vdisk()]
    expect(new Set(seen).size).toBe(260)
    expect(new Set(vdisks).size).toBe(3)
    expect(lossy.losses).toEqual([])
  })

  it('drops a range that was being reserved when a new one was asked for', async () => {
    const ids = new IdAllocator(server.client('a'))
    const pending = ids.egroup()
    // The commit is applied after a request's time, and its answer is on the way.
    while (server.revision === 0) await loop.sleep(0.1)
    ids.startNewRange()
    const watermark = await ids.egroupWatermark()
    expect(await pending).toBeGreaterThanOrEqual(watermark)
  })
})

describe('RecordsView', () => {
  it('does not forget what the watch told while a refresh found nothing', async () => {
    const client = server.client('a')
    let answer: () => void = () => {}
    const slow: Catalog = {
      get: async (key) => {
        const entry = await client.get(key)
        await new Promise<void>((resolve) => {
          answer = resolve
        })
        return entry
      },
      list: (prefix) => client.list(prefix),
      watch: (prefix, onChange) => client.watch(prefix, onChange),
      commit: (transaction) => client.commit(transaction),
      grantLease: (id, ttlMs) => client.grantLease(id, ttlMs),
      keepLease: (id) => client.keepLease(id),
      revokeLease: (id) => client.revokeLease(id),
    }
    const view = await RecordsView.open<number>(slow, 'vm/')
    const refreshed = view.refresh('vm/x')
    await loop.sleep(50)
    await client.commit({ put: [{ key: 'vm/x', value: encodeRecord(1) }] })
    await loop.sleep(100)
    expect(view.value('vm/x')).toBe(1)
    answer()
    expect((await refreshed)?.value).toBe(1)
    expect(view.value('vm/x')).toBe(1)
  })

  it('leaves no watch behind when it cannot be opened', async () => {
    const client = server.client('a')
    let watches = 0
    const failing: Catalog = {
      ...new UnheardCatalog(client, 'none').catalog,
      list: async () => {
        throw new Error('no answer')
      },
      watch: (prefix, onChange) => {
        watches++
        const end = client.watch(prefix, onChange)
        return () => {
          watches--
          end()
        }
      },
    }
    await expect(RecordsView.open(failing, 'vm/')).rejects.toThrow('no answer')
    expect(watches).toBe(0)
  })
})

describe('Membership', () => {
  it.each(['answer', 'request'] as const)('joins although the %s of its commit was lost', async (loss) => {
    const lossy = new UnheardCatalog(server.client('a'), 'lease/')
    lossy.losses.push(loss)
    const { membership, lost } = await member(lossy.catalog, 1)
    await membership.join()
    expect(membership.canServe()).toBe(true)
    expect(lossy.applied).toBe(1)
    await loop.sleep(5 * TTL_MS)
    expect(membership.canServe()).toBe(true)
    expect(lost()).toBe(false)
    await membership.leave()
  })

  it('waits for the lease of the life before it, whose end is not its own', async () => {
    const before = await member(server.client('life 1'), 1)
    await before.membership.join()
    const { membership, lost } = await member(server.client('life 2'), 2)
    const joined = membership.join()
    before.membership.close()
    await joined
    await loop.sleep(5 * TTL_MS)
    expect(lost()).toBe(false)
    expect(membership.canServe()).toBe(true)
    await membership.leave()
  })

  it('joins when the catalog answers again', async () => {
    const { membership } = await member(server.client('a'), 1)
    server.faults.isolate('a')
    const joined = membership.join()
    await loop.sleep(10_000)
    expect(membership.canServe()).toBe(false)
    server.faults.heal('a')
    await joined
    expect(membership.canServe()).toBe(true)
    await membership.leave()
  })

  it('tells when its own lease was ended', async () => {
    const { membership, lost } = await member(server.client('a'), 1)
    await membership.join()
    await server.client('b').revokeLease(membership.incarnation)
    await loop.sleep(100)
    expect(lost()).toBe(true)
    expect(membership.canServe()).toBe(false)
  })

  it('leaves although the catalog does not answer', async () => {
    const { membership } = await member(server.client('a'), 1)
    await membership.join()
    server.faults.isolate('a')
    await membership.leave()
    expect(membership.canServe()).toBe(false)
  })
})

describe('Space', () => {
  it.each(['answer', 'request'] as const)('publishes again when the %s was lost', async (loss) => {
    const lossy = new UnheardCatalog(server.client('a'), 'usage/')
    const { membership } = await member(lossy.catalog, 1)
    await membership.join()
    const store = {
      usage: () => [{ id: 'd', tier: 'ssd', usedBytes: 5, sizeBytes: 10, failed: false }],
    } as unknown as ExtentStore
    const space = new Space(membership, store, new SimClock(loop), seededRandom(1))
    lossy.losses.push(loss, loss)
    await expect(space.publish()).rejects.toMatchObject({ code: 'TIMEOUT' })
    space.changed()
    await loop.sleep(2_000)
    expect(lossy.losses).toEqual([])
    expect(await server.client('b').get(keys.usage('node-1'))).toBeDefined()
    expect(membership.usageOf('node-1')?.ssd.usedBytes).toBe(5)
    space.close()
    await membership.leave()
  })
})
