/** What one handle sends again when it hears that the owner has moved, and what it must not. */
import { expect, test } from 'vitest'
import type { StoragePort } from '../../src/cvm/port.ts'
import type { ByteRange } from '../../src/cvm/superseded.ts'
import { WriteSession } from '../../src/cvm/write-session.ts'
import { OwnerMoved, type WriteAttempt } from '../../src/vdisk/attempt-guard.ts'

const RANGE = { start: 0, end: 8192 }
const PORT = {} as StoragePort

interface Sent {
  readonly attempt: WriteAttempt
  readonly range: ByteRange
  resolve(): void
  reject(error: unknown): void
}

/** Sends that wait to be answered by the test. */
function recorder() {
  const sent: Sent[] = []
  const send = (_port: StoragePort, attempt: WriteAttempt, range: ByteRange) =>
    new Promise<void>((resolve, reject) => sent.push({ attempt, range, resolve, reject }))
  return { sent, send }
}

/** Lets everything that is due run. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

test('an attempt that met a new owner is sent to it with its generation', async () => {
  const { sent, send } = recorder()
  const session = new WriteSession('host/1', 1)
  const write = session.write(RANGE, (io) => io(PORT), send)
  sent[0]!.reject(new OwnerMoved(2))
  await settled()
  expect(sent.map(({ attempt }) => attempt.generation)).toEqual([1, 2])
  sent[1]!.resolve()
  await write
})

/** A write that is sent twice, the first time without an answer. */
async function sentTwice(
  session: WriteSession,
  { sent, send }: ReturnType<typeof recorder>,
  range: ByteRange,
) {
  const first = sent.length
  let again = () => {}
  const write = session.write(
    range,
    (io) => {
      io(PORT).catch(() => {})
      return new Promise((resolve, reject) => {
        again = () => void io(PORT).then(resolve, reject)
      })
    },
    send,
  )
  await settled()
  return { write, again: () => again(), first: sent[first]! }
}

test('an attempt that hears of it after another one did the write is not sent again', async () => {
  const wire = recorder()
  const session = new WriteSession('host/1', 1)
  const { write, again, first } = await sentTwice(session, wire, RANGE)
  again()
  wire.sent[1]!.resolve()
  await settled()
  wire.sent[2]!.resolve()
  await write
  first.reject(new OwnerMoved(2))
  await settled()
  expect(wire.sent).toHaveLength(3)
})

test('nor is one that is not the newest of its write', async () => {
  const wire = recorder()
  const session = new WriteSession('host/1', 1)
  const { write, again, first } = await sentTwice(session, wire, RANGE)
  again()
  first.reject(new OwnerMoved(2))
  await settled()
  expect(wire.sent).toHaveLength(2)
  wire.sent[1]!.resolve()
  await settled()
  wire.sent[2]!.resolve()
  await write
  const next = session.write(RANGE, (io) => io(PORT), wire.send)
  await settled()
  expect(wire.sent[3]!.attempt.generation).toBe(2)
  wire.sent[3]!.resolve()
  await next
})

test('what a later write has put in place meanwhile is not sent again', async () => {
  const wire = recorder()
  const session = new WriteSession('host/1', 1)
  const { write, again } = await sentTwice(session, wire, RANGE)
  const later = session.write({ start: 1024, end: 4096 }, (io) => io(PORT), wire.send)
  await settled()
  wire.sent[1]!.resolve()
  await later
  again()
  expect(wire.sent[2]).toMatchObject({ range: { start: 0, end: 0 }, attempt: { attempt: 2 } })
  for (const [at, range] of [
    [3, { start: 0, end: 1024 }],
    [4, { start: 4096, end: 8192 }],
  ] as const) {
    wire.sent[at - 1]!.resolve()
    await settled()
    expect(wire.sent[at]!.range).toEqual(range)
  }
  wire.sent[4]!.resolve()
  await write
})

test('a write that is sent again goes alone: it waits for those on their way, and new ones wait for it', async () => {
  const wire = recorder()
  const session = new WriteSession('host/1', 1)
  const { write, again } = await sentTwice(session, wire, RANGE)
  const beside = session.write({ start: 4096, end: 8192 }, (io) => io(PORT), wire.send)
  await settled()
  again()
  wire.sent[2]!.resolve()
  await settled()
  const after = session.write({ start: 0, end: 4096 }, (io) => io(PORT), wire.send)
  const elsewhere = session.write({ start: 8192, end: 12288 }, (io) => io(PORT), wire.send)
  await settled()
  expect(wire.sent.map(({ range }) => range.start)).toEqual([0, 4096, 0, 8192])
  wire.sent[1]!.resolve()
  await beside
  await settled()
  expect(wire.sent[4]!.range).toEqual({ start: 0, end: 4096 })
  wire.sent[4]!.resolve()
  await write
  await settled()
  expect(wire.sent[5]!.attempt.number).toBe(3)
  wire.sent[5]!.resolve()
  wire.sent[3]!.resolve()
  await Promise.all([after, elsewhere])
})

test('of two that are sent again, the later one waits', async () => {
  const wire = recorder()
  const session = new WriteSession('host/1', 1)
  const one = await sentTwice(session, wire, RANGE)
  const two = await sentTwice(session, wire, RANGE)
  two.again()
  one.again()
  wire.sent[2]!.resolve()
  wire.sent[3]!.resolve()
  await settled()
  expect(wire.sent.slice(4).map(({ attempt }) => attempt.number)).toEqual([1])
  wire.sent[4]!.resolve()
  // What the first has written is not the second's to write any more.
  await Promise.all([one.write, two.write])
  expect(wire.sent).toHaveLength(5)
})

test('many writes that are answered leave nothing behind, and are known to one that is not', async () => {
  const wire = recorder()
  const session = new WriteSession('host/1', 1)
  const { write, again } = await sentTwice(session, wire, { start: 0, end: 3_000 })
  for (let at = 0; at < 2_999; at++) {
    const done = session.write({ start: at, end: at + 1 }, (io) => io(PORT), wire.send)
    await Promise.resolve()
    wire.sent.at(-1)!.resolve()
    await done
  }
  again()
  wire.sent.at(-1)!.resolve()
  await settled()
  expect(wire.sent.at(-1)!.range).toEqual({ start: 2_999, end: 3_000 })
  wire.sent.at(-1)!.resolve()
  await write
})
