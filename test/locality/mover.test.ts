/**
 * The mover never lets the directory list a copy that is not there. Guards: a copy that somebody else has listed
 * meanwhile stays, one that nobody lists goes; what was to be dropped as partial stays when it is not partial any more.
 */
import { describe, expect, test } from 'vitest'
import type { EgroupRecord } from '../../src/cluster/records.ts'
import type { ExtentStore } from '../../src/extent-store/extent-store.ts'
import type { CopyInfo } from '../../src/extent-store/types.ts'
import { Mover, type MoverDeps } from '../../src/locality/mover.ts'
import { UNDISTURBED } from '../../src/platform/bulk-work.ts'
import type { Directory } from '../../src/replication/directory.ts'
import type { NodeStore, NodeStores } from '../../src/replication/node-store.ts'

const RECORD: EgroupRecord = {
  stream: 1,
  order: 1,
  state: 'sealed',
  length: 4096,
  generation: 1,
  rf: 2,
  copies: [
    { node: 'node-1', tier: 'ssd' },
    { node: 'node-2', tier: 'ssd' },
  ],
}

/** A mover in a world where the directory has become `now` while the copy was made. */
function moverWhen(now: EgroupRecord | undefined, isReplaced: boolean, isThere = true) {
  const calls: string[] = []
  const updated: EgroupRecord[] = []
  const storeOf = (node: string) =>
    ({
      node,
      pull: async () => {
        calls.push(`pull to ${node}`)
        return { bytes: 4096 }
      },
      copyInfo: async () => (isThere ? { egroup: 9, kind: 'full' } : undefined) as CopyInfo | undefined,
      dropCopy: async () => void calls.push(`drop on ${node}`),
      dropPartial: async () => void calls.push(`drop if partial on ${node}`),
    }) as Partial<NodeStore> as NodeStore
  const directory: Partial<Directory> = {
    get: () => ({ value: RECORD, revision: 5 }),
    refresh: async () => (now === undefined ? undefined : { value: now, revision: 6 }),
    replace: async () => isReplaced,
    update: async (_, change) => {
      const after = change(now!)
      if (after !== undefined) updated.push(after)
      return after
    },
  }
  const deps: MoverDeps = {
    stores: { self: 'node-1', of: storeOf } satisfies NodeStores,
    store: {} as ExtentStore,
    directory: directory as Directory,
    catalog: {} as MoverDeps['catalog'],
    clock: { now: () => 0, wall: () => 0, sleep: async () => {} } as Partial<
      MoverDeps['clock']
    > as MoverDeps['clock'],
    bulk: UNDISTURBED,
  }
  return { mover: new Mover(deps), calls, updated }
}

const EVICT = { type: 'evict', egroup: 9, from: 'node-2', to: 'node-3', toTier: 'hdd', bytes: 4096 } as const

describe('evicting', () => {
  test('the old copy goes only after the new one is listed', async () => {
    const { mover, calls } = moverWhen(RECORD, true)
    expect(await mover.run(EVICT)).toBe(4096)
    expect(calls).toEqual(['pull to node-3', 'drop on node-2'])
  })

  test('a changed record ends the move, and the new copy goes', async () => {
    const { mover, calls } = moverWhen(RECORD, false)
    await expect(mover.run(EVICT)).rejects.toMatchObject({ code: 'CONFLICT' })
    expect(calls).toEqual(['pull to node-3', 'drop on node-3'])
  })

  test('a copy that somebody else has listed meanwhile stays', async () => {
    const listed = { ...RECORD, copies: [RECORD.copies[0]!, { node: 'node-3', tier: 'hdd' as const }] }
    const { mover, calls } = moverWhen(listed, false)
    await expect(mover.run(EVICT)).rejects.toMatchObject({ code: 'CONFLICT' })
    expect(calls).toEqual(['pull to node-3'])
  })

  test('a copy that was lost before it was listed is taken out again, and the old one stays', async () => {
    const moved = { ...RECORD, copies: [RECORD.copies[0]!, { node: 'node-3', tier: 'hdd' as const }] }
    const { mover, calls, updated } = moverWhen(moved, true, false)
    await expect(mover.run(EVICT)).rejects.toMatchObject({ code: 'CONFLICT' })
    expect(calls).toEqual(['pull to node-3'])
    expect(updated).toEqual([RECORD])
  })

  test.each([
    ['its node has left the record by itself', [0], RECORD.copies],
    ['it was, and the old one is listed again', [0, 1], undefined],
    ['it was, and somebody has made another', [0, 4], undefined],
    ['somebody has made another', [0, 3, 4], [RECORD.copies[0]!, { node: 'node-5', tier: 'ssd' as const }]],
  ])('after a loss the old copy is listed if it is needed: %s', async (_, nodes, expected) => {
    const copies = nodes.map(
      (n) => RECORD.copies[n] ?? { node: `node-${n === 3 ? 3 : 5}`, tier: 'ssd' as const },
    )
    const { mover, updated } = moverWhen({ ...RECORD, copies }, true, false)
    await expect(mover.run(EVICT)).rejects.toMatchObject({ code: 'CONFLICT' })
    expect(updated.map((record) => record.copies)).toEqual(expected === undefined ? [] : [expected])
  })

  test('an egroup that is gone leaves nothing behind', async () => {
    const { mover, calls } = moverWhen(undefined, false)
    await expect(mover.run(EVICT)).rejects.toMatchObject({ code: 'CONFLICT' })
    expect(calls).toEqual(['pull to node-3', 'drop on node-3'])
  })
})

test('a partial copy is dropped by a call that spares what has been completed', async () => {
  const { mover, calls } = moverWhen(RECORD, true)
  await mover.run({ type: 'drop-partial', egroup: 9, node: 'node-3', bytes: 1 })
  expect(calls).toEqual(['drop if partial on node-3'])
})
