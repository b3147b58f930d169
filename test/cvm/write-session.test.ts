/** What one handle sends again when it hears that the owner has moved, and what it must not. */
import { expect, test } from 'vitest'
import { HitherError } from '../../src/base/errors.ts'
import type { StoragePort } from '../../src/cvm/port.ts'
import { type SendAttempt, through, WriteSession } from '../../src/cvm/write-session.ts'
import { OwnerMoved, type WriteAttempt } from '../../src/vdisk/attempt-guard.ts'

const PORT = {} as StoragePort

interface Sent {
  readonly attempt: WriteAttempt
  resolve(): void
  reject(error: unknown): void
}

/** Sends that wait to be answered by the test. */
function recorder() {
  const sent: Sent[] = []
  const send = (_port: StoragePort, attempt: WriteAttempt) =>
    new Promise<void>((resolve, reject) => sent.push({ attempt, resolve, reject }))
  return { sent, send }
}

/** Lets everything that is due run. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

test('an attempt that met a new owner is sent to it with its generation', async () => {
  const { sent, send } = recorder()
  const session = new WriteSession('host/1', 1)
  const write = session.write(0, 8192, through(PORT), send)
  sent[0]!.reject(new OwnerMoved(2))
  await settled()
  expect(sent.map(({ attempt }) => attempt.generation)).toEqual([1, 2])
  sent[1]!.resolve()
  await write
})

/** A write that is sent a second time when `again` is called, its first attempt still without an answer. */
async function sentTwice(session: WriteSession, send: SendAttempt, start: number, end: number) {
  let again = () => {}
  const write = session.write(
    start,
    end,
    (io, watcher) => {
      io(PORT).catch(() => {})
      return new Promise((resolve, reject) => {
        again = () => void through(PORT)(io, watcher).then(resolve, reject)
      })
    },
    send,
  )
  await settled()
  return { write, again: () => again() }
}

test('an attempt that hears of it after another one did the write is not sent again', async () => {
  const { sent, send } = recorder()
  const session = new WriteSession('host/1', 1)
  const { write, again } = await sentTwice(session, send, 0, 8192)
  again()
  sent[1]!.resolve()
  await write
  sent[0]!.reject(new OwnerMoved(2))
  await settled()
  expect(sent).toHaveLength(2)
})

test('nor is one that is not the newest of its write', async () => {
  const { sent, send } = recorder()
  const session = new WriteSession('host/1', 1)
  const { write, again } = await sentTwice(session, send, 0, 8192)
  again()
  sent[0]!.reject(new OwnerMoved(2))
  await settled()
  expect(sent).toHaveLength(2)
  sent[1]!.resolve()
  await write
  const next = session.write(0, 8192, through(PORT), send)
  await settled()
  expect(sent[2]!.attempt.generation).toBe(2)
  sent[2]!.resolve()
  await next
})

test('writes to the same bytes go one after the other, also while the first is sent again; others do not wait', async () => {
  const { sent, send } = recorder()
  const session = new WriteSession('host/1', 1)
  const { write, again } = await sentTwice(session, send, 0, 8192)
  const overlapping = session.write(4096, 12_288, through(PORT), send)
  const behind = session.write(8192, 12_288, through(PORT), send)
  const elsewhere = session.write(12_288, 16_384, through(PORT), send)
  await settled()
  const numbers = () => sent.map(({ attempt }) => attempt.number)
  expect(numbers()).toEqual([1, 4])
  again()
  await settled()
  expect(numbers()).toEqual([1, 4, 1])
  sent[2]!.resolve()
  await write
  await settled()
  expect(numbers()).toEqual([1, 4, 1, 2])
  sent[3]!.resolve()
  await overlapping
  await settled()
  expect(numbers()).toEqual([1, 4, 1, 2, 3])
  sent[4]!.resolve()
  sent[1]!.resolve()
  await Promise.all([behind, elsewhere])
})

test('a write that fails gives its bytes back, and later ones say that it is over', async () => {
  const { sent, send } = recorder()
  const session = new WriteSession('host/1', 1)
  const failing = session.write(0, 4096, through(PORT), send)
  const next = session.write(0, 4096, through(PORT), send)
  await settled()
  sent[0]!.reject(new HitherError('TIMEOUT', 'no answer'))
  await expect(failing).rejects.toMatchObject({ code: 'TIMEOUT' })
  await settled()
  expect(sent[1]!.attempt).toMatchObject({ number: 2, settledBelow: 2 })
  sent[1]!.resolve()
  await next
})

test('so many writes are under way, and no more', async () => {
  const { sent, send } = recorder()
  const session = new WriteSession('host/1', 1)
  const writes = Array.from({ length: 300 }, (_, at) => session.write(at, at + 1, through(PORT), send))
  await settled()
  expect(sent).toHaveLength(256)
  for (let answered = 0; answered < 300; answered++) {
    sent[answered]!.resolve()
    await settled()
  }
  await Promise.all(writes)
  expect(sent).toHaveLength(300)
})
