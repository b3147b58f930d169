/** Changes of the directory whose commit is applied without an answer, or lost. */
import { beforeEach, describe, expect, it } from 'vitest'
import { type EgroupRecord, encodeRecord, keys } from '../../src/cluster/records.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimCatalog } from '../../src/platform/sim/sim-catalog.ts'
import { Directory } from '../../src/replication/directory.ts'
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
const seal = (record: EgroupRecord): EgroupRecord => ({ ...record, state: 'sealed', length: 4096 })

describe('Directory', () => {
  let server: SimCatalog
  let lossy: UnheardCatalog
  let directory: Directory
  let guard: OwnerGuard

  const takeOver = async (): Promise<void> => {
    await server.client('b').commit({ put: [{ key: keys.owner(STREAM), value: encodeRecord({}) }] })
  }

  beforeEach(async () => {
    server = new SimCatalog(new SimLoop(), seededRandom(3))
    lossy = new UnheardCatalog(server.client('a'), 'egroup/')
    const owner = { key: keys.owner(STREAM), value: encodeRecord({}) }
    const { revision } = await server.client('a').commit({ put: [owner] })
    guard = { stream: STREAM, revision }
    directory = await Directory.open(lossy.catalog)
  })

  it.each(['answer', 'request'] as const)('adds an egroup once when the %s was lost', async (loss) => {
    lossy.losses.push(loss)
    await directory.add(9, RECORD, guard)
    expect(lossy.applied).toBe(1)
    expect(directory.record(9)).toEqual(RECORD)
    const entry = await server.client('b').get(keys.egroup(9))
    expect(directory.get(9)?.revision).toBe(entry?.revision)
  })

  it('does not list an egroup again when a late attempt arrives after it was reclaimed', async () => {
    lossy.losses.push('late', 'late')
    await directory.add(9, RECORD, guard)
    expect(await directory.remove(9, directory.get(9)!.revision)).toBe(true)
    expect(await lossy.arrive()).toEqual([false, false])
    expect(await server.client('b').get(keys.egroup(9))).toBeUndefined()
  })

  it('adds two egroups of one stream at the same time', async () => {
    lossy.losses.push('answer')
    await Promise.all([directory.add(9, RECORD, guard), directory.add(10, { ...RECORD, order: 2 }, guard)])
    expect([...directory.all()].map(([egroup]) => egroup).sort()).toEqual([10, 9])
    expect(lossy.applied).toBe(2)
  })

  it('tells a deposed owner that it may not add, also when the first attempt was lost', async () => {
    lossy.losses.push('request')
    await takeOver()
    const added = directory.add(9, RECORD, guard)
    await expect(added).rejects.toMatchObject({ code: 'STALE_GENERATION' })
    expect(directory.record(9)).toBeUndefined()
  })

  it.each([
    'answer',
    'request',
  ] as const)('updates once when the %s was lost, and again after', async (loss) => {
    await directory.add(9, RECORD, guard)
    lossy.applied = 0
    lossy.losses.push(loss)
    let changes = 0
    const grow = (record: EgroupRecord): EgroupRecord => {
      changes++
      return { ...record, length: record.length + 1 }
    }
    expect((await directory.update(9, grow, guard))?.length).toBe(1)
    expect(lossy.applied).toBe(1)
    expect(changes).toBe(loss === 'answer' ? 1 : 2)
    expect((await directory.update(9, grow, guard))?.length).toBe(2)
  })

  it.each([
    ['that alone', []],
    ['so did the first that was to end it', ['late']],
    ['the answer of the one that ends it was lost', ['answer']],
  ] as const)('a change that is not wanted any more does not come late: %s', async (_, more) => {
    await directory.add(9, RECORD, guard)
    lossy.losses.push('late', ...more)
    let wanted = true
    const list = (record: EgroupRecord): EgroupRecord | undefined => {
      if (!wanted) return undefined
      wanted = false
      return { ...record, copies: [...record.copies, { node: 'node-2', tier: 'ssd' }] }
    }
    expect(await directory.update(9, list)).toEqual(RECORD)
    const late = await lossy.arrive()
    expect(late).toEqual(late.map(() => false))
    expect((await directory.refresh(9))?.value).toEqual(RECORD)
  })

  it('does not update for a deposed owner whose commit was not answered', async () => {
    await directory.add(9, RECORD, guard)
    await takeOver()
    lossy.losses.push('request')
    await expect(directory.update(9, seal, guard)).rejects.toMatchObject({ code: 'STALE_GENERATION' })
  })

  it('keeps on when an egroup of a deleted vDisk was changed by somebody else meanwhile', async () => {
    await directory.add(9, RECORD, guard)
    const other = server.client('b')
    await other.commit({ remove: [keys.owner(STREAM)] })
    await directory.refresh(9)
    await other.commit({ put: [{ key: keys.egroup(9), value: encodeRecord({ ...RECORD, rf: 3 }) }] })
    const sealed = await directory.update(9, seal, { stream: STREAM, revision: 0 })
    expect(sealed).toEqual({ ...seal(RECORD), rf: 3 })
  })

  it('takes a node out of a record, but never the last one', async () => {
    const both = [...RECORD.copies, { node: 'node-2', tier: 'ssd' as const }]
    await directory.add(9, { ...RECORD, copies: both }, guard)
    expect(await directory.leave(9, 'node-3')).toBe(false)
    expect(await directory.leave(9, 'node-2')).toBe(true)
    expect(await directory.leave(9, 'node-1')).toBe(false)
    expect(directory.record(9)?.copies).toEqual(RECORD.copies)
  })

  it('says TIMEOUT when the catalog cannot be read either', async () => {
    await directory.add(9, RECORD, guard)
    server.faults.isolate('a')
    await expect(directory.update(9, seal, guard)).rejects.toMatchObject({ code: 'TIMEOUT' })
    server.faults.heal('a')
    expect((await directory.update(9, seal, guard))?.state).toBe('sealed')
  })
})
