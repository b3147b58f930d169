/**
 * Where a takeover decides that a log has ended. Guards: an egroup of which every copy is gone is reported, not taken for
 * empty; a copy that is there and empty is believed; what only cannot be reached is told apart from what is lost.
 */
import { expect, test } from 'vitest'
import { type ErrorCode, HitherError } from '../../src/base/errors.ts'
import type { EgroupRecord } from '../../src/cluster/records.ts'
import type { Directory } from '../../src/replication/directory.ts'
import type { NodeStore, NodeStores } from '../../src/replication/node-store.ts'
import { recoverStream } from '../../src/replication/recover-stream.ts'

const STREAM = 7
const OPEN: EgroupRecord = {
  stream: STREAM,
  order: 1,
  state: 'open',
  length: 0,
  generation: 1,
  rf: 2,
  copies: [
    { node: 'node-1', tier: 'ssd' },
    { node: 'node-2', tier: 'ssd' },
  ],
}

/**
 * A takeover when the two nodes answer a fence so: with an error's code, or the length of their copy; and a seal with an
 * error's code, where there is one.
 */
async function takeOver(
  answers: readonly [ErrorCode | number, ErrorCode | number],
  isDeleted = false,
  seals: readonly [(ErrorCode | undefined)?, ErrorCode?] = [],
) {
  let record = OPEN
  const directory = {
    ofStream: async () => [{ egroup: 1, entry: { value: record, revision: 1 } }],
    update: async (_egroup: number, change: (now: EgroupRecord) => EgroupRecord | undefined) => {
      record = change(record) ?? record
      return record
    },
  } as unknown as Directory
  const store = (node: string) => {
    const i = node === 'node-1' ? 0 : 1
    const answer = answers[i]
    const sealFailure = seals[i]
    return {
      fence: async () => {
        if (typeof answer === 'string') throw new HitherError(answer, node)
        return { length: answer, state: 'open' }
      },
      seal: async () => {
        if (sealFailure !== undefined) throw new HitherError(sealFailure, node)
      },
    } as unknown as NodeStore
  }
  const stores: NodeStores = { self: 'node-3', of: store }
  const guard = { stream: STREAM, revision: 1 }
  try {
    await recoverStream(STREAM, 2, guard, { stores, directory, isDeleted })
    return { record }
  } catch (error) {
    return { code: (error as HitherError).code, record }
  }
}

test('every copy is gone: lost, and the record stays as it is', async () => {
  expect(await takeOver(['COPY_MISSING', 'COPY_MISSING'])).toEqual({
    code: 'CHECKSUM_MISMATCH',
    record: OPEN,
  })
})

test('one copy is gone, the other cannot be reached: it may come back', async () => {
  for (const code of ['CVM_DOWN', 'TIMEOUT', 'DEVICE_FAILED'] as const) {
    expect(await takeOver(['COPY_MISSING', code])).toEqual({ code: 'DATA_UNAVAILABLE', record: OPEN })
  }
})

test('a copy that was never appended to is there, and empty', async () => {
  const { code, record } = await takeOver(['COPY_MISSING', 0])
  expect(code).toBeUndefined()
  expect(record).toMatchObject({ state: 'sealed', length: 0, copies: [{ node: 'node-2' }] })
})

test('what is lost of the log of a deleted vDisk keeps nobody from taking it away', async () => {
  const { code, record } = await takeOver(['COPY_MISSING', 'COPY_MISSING'], true)
  expect(code).toBeUndefined()
  expect(record).toMatchObject({ state: 'sealed', length: 0, copies: [] })
})

test('a copy that cannot be sealed is dropped, also when it is the longest, if another has as much', async () => {
  for (const seals of [['DEVICE_FULL'], [undefined, 'DEVICE_FAILED']] as const) {
    const { code, record } = await takeOver([4096, 4096], false, seals)
    expect(code).toBeUndefined()
    const left = seals[0] === undefined ? 'node-1' : 'node-2'
    expect(record).toMatchObject({ state: 'sealed', length: 4096, copies: [{ node: left }] })
    expect(record.copies).toHaveLength(1)
  }
})

test('when no copy can be sealed nothing changes; for want of room it may be tried again', async () => {
  const full = await takeOver([4096, 4096], false, ['DEVICE_FULL', 'NO_SPACE'])
  expect(full).toEqual({ code: 'DATA_UNAVAILABLE', record: OPEN })
  const failed = await takeOver([4096, 4096], false, ['DEVICE_FULL', 'DEVICE_FAILED'])
  expect(failed).toEqual({ code: 'DEVICE_FAILED', record: OPEN })
})
