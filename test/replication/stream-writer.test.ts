/**
 * What is appended to has all its copies. Guards: a copy that was lost between its making and its listing (its node started
 * anew, and dropped what nobody listed) is found before anything is acknowledged, and the frame goes to the next egroup.
 */
import { expect, test } from 'vitest'
import type { EgroupId, NodeId } from '../../src/base/units.ts'
import type { ContainerRecord, EgroupRecord } from '../../src/cluster/records.ts'
import { FrameBuilder } from '../../src/extent-store/frame-writer.ts'
import type { CopyInfo } from '../../src/extent-store/types.ts'
import type { NodeStore } from '../../src/replication/node-store.ts'
import { type StreamDeps, StreamWriter } from '../../src/replication/stream-writer.ts'

const NODES = ['node-1', 'node-2'] as const

/** A writer over nodes that take everything; `losesCopy` makes a node forget a copy as it is listed. */
function writerOver(losesCopy: (node: NodeId, egroup: EgroupId) => boolean) {
  const listed = new Map<EgroupId, EgroupRecord>()
  const copies = new Set<string>()
  const appended: string[] = []
  const storeOf = (node: NodeId): NodeStore => {
    const store: Partial<NodeStore> = {
      node,
      createCopy: async ({ egroup }) => void copies.add(`${node}/${egroup}`),
      copyInfo: async (egroup) => (copies.has(`${node}/${egroup}`) ? ({ egroup } as CopyInfo) : undefined),
      append: async ({ egroup }) => void appended.push(`${node}/${egroup}`),
      seal: async () => {},
    }
    return store as NodeStore
  }
  let ids = 0
  const sealed: Array<{ readonly egroup: EgroupId; readonly dropped: readonly NodeId[] }> = []
  const directory = {
    add: async (egroup: EgroupId, record: EgroupRecord) => {
      listed.set(egroup, record)
      for (const node of NODES) if (losesCopy(node, egroup)) copies.delete(`${node}/${egroup}`)
    },
    update: async (egroup: EgroupId, change: (record: EgroupRecord) => EgroupRecord | undefined) => {
      const after = change(listed.get(egroup)!)
      if (after !== undefined) listed.set(egroup, after)
      return after
    },
  }
  const deps = {
    stores: { self: NODES[0], of: storeOf },
    directory,
    ids: { egroup: async () => ++ids },
    choose: () => NODES.map((node) => ({ node, tier: 'ssd' as const })),
    onSealedOnFailure: (egroup: EgroupId, dropped: readonly NodeId[]) => sealed.push({ egroup, dropped }),
    onError: () => {},
  } as unknown as StreamDeps
  const policy = { rf: 2 } as ContainerRecord
  const writer = new StreamWriter(7, 1, { stream: 7, revision: 1 }, policy, 0, deps)
  return { writer, listed, appended, sealed }
}

function frame(): FrameBuilder {
  const builder = new FrameBuilder()
  builder.addHole(0, 8)
  return builder
}

test('an egroup whose copies are all there is appended to', async () => {
  const { writer, appended, sealed } = writerOver(() => false)
  const placement = await writer.append(frame(), true, 'data')
  expect(placement.egroup).toBe(1)
  expect(appended).toEqual(['node-1/1', 'node-2/1'])
  expect(sealed).toEqual([])
})

test('one that lost a copy before it was listed is sealed, empty, and the frame goes to the next', async () => {
  const { writer, listed, appended, sealed } = writerOver((node, egroup) => node === 'node-2' && egroup === 1)
  const placement = await writer.append(frame(), true, 'data')
  expect(placement.egroup).toBe(2)
  expect(appended).toEqual(['node-1/2', 'node-2/2'])
  expect(sealed).toEqual([{ egroup: 1, dropped: ['node-2'] }])
  expect(listed.get(1)).toMatchObject({ state: 'sealed', length: 0, copies: [{ node: 'node-1' }] })
  expect(listed.get(2)).toMatchObject({ state: 'open' })
})

test('a node that loses every copy fails the write in the end, and nothing is acknowledged', async () => {
  const { writer, appended } = writerOver((node) => node === 'node-2')
  await expect(writer.append(frame(), true, 'data')).rejects.toMatchObject({ code: 'NO_REPLICAS' })
  expect(appended).toEqual([])
})
