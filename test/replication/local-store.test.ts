/** A pull reads ahead of what it writes; a read that fails early is an error of the pull, and of nobody else. */
import { expect, test } from 'vitest'
import { HitherError } from '../../src/base/errors.ts'
import { KiB } from '../../src/base/units.ts'
import type { ExtentStore } from '../../src/extent-store/extent-store.ts'
import { type BulkWork, GuestActivity, UNDISTURBED } from '../../src/platform/bulk-work.ts'
import { LocalStore } from '../../src/replication/local-store.ts'
import type { NodeStore, NodeStores } from '../../src/replication/node-store.ts'

const LENGTH = 1024 * KiB
const REQUEST = { egroup: 7, stream: 1, generation: 1, tier: 'hdd', from: 'node-2' } as const

/** A pull whose reads are answered by `read`; what it wrote, in order, by number of its 64 KiB, and how long its reads were. */
function pulled(read: (offset: number) => Promise<void>, bulk: BulkWork = UNDISTURBED) {
  const lengths = new Set<number>()
  const source = {
    copyInfo: async () => ({ kind: 'full', state: 'sealed', length: LENGTH }),
    doneWith: (log: Uint8Array) => log.fill(0xff),
    readLog: async (_egroup: number, offset: number, length: number) => {
      await read(offset)
      lengths.add(length)
      return new Uint8Array(length).map((_, i) => (offset + i) / (64 * KiB))
    },
  } as unknown as NodeStore
  const written: number[] = []
  const store = {
    importCopy: async (_copy: unknown, chunks: AsyncIterable<Uint8Array>) => {
      for await (const chunk of chunks) written.push(...new Set(chunk))
    },
  } as unknown as ExtentStore
  const stores: NodeStores = { self: 'node-1', of: () => source }
  const local = new LocalStore(
    'node-1',
    store,
    () => stores,
    new GuestActivity(),
    bulk,
    async () => {},
  )
  return { written, lengths, pull: local.pull(REQUEST) }
}

test('chunks come in order, whatever order they are read in', async () => {
  for (const hasGuests of [false, true]) {
    const { written, lengths, pull } = pulled(
      (offset) => new Promise((resolve) => setTimeout(resolve, (offset * 7) % 5)),
      { ...UNDISTURBED, hasGuests },
    )
    expect(await pull).toEqual({ bytes: LENGTH })
    expect(written).toEqual(Array.from({ length: 16 }, (_, i) => i))
    expect([...lengths]).toEqual([(hasGuests ? 64 : 256) * KiB])
  }
})

test('a read ahead that fails before its turn fails the pull, when all reads have ended', async () => {
  const unhandled: unknown[] = []
  const note = (error: unknown) => unhandled.push(error)
  process.on('unhandledRejection', note)
  let underWay = 0
  const { pull } = pulled(async (offset) => {
    underWay++
    await new Promise((resolve) => setTimeout(resolve, offset === 256 * KiB ? 1 : 20))
    underWay--
    if (offset === 256 * KiB) throw new HitherError('CVM_DOWN', 'node-2 is down')
  })
  await expect(pull).rejects.toMatchObject({ code: 'CVM_DOWN' })
  expect(underWay).toBe(0)
  process.off('unhandledRejection', note)
  expect(unhandled).toEqual([])
})
