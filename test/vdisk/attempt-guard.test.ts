/** Guards: a late attempt is refused, whatever came meanwhile; a new one never is; what is remembered stays bounded. */
import { describe, expect, test } from 'vitest'
import { AttemptGuard, OwnerMoved, type WriteAttempt } from '../../src/vdisk/attempt-guard.ts'

const GENERATION = 5

function attempt(number: number, more: Partial<WriteAttempt> = {}): WriteAttempt {
  return { client: 'a', number, attempt: 1, settledBelow: 0, generation: GENERATION, ...more }
}

describe('an attempt is refused', () => {
  test('when it was meant for another generation, and hears which one is right', () => {
    const guard = new AttemptGuard(GENERATION)
    for (const generation of [0, GENERATION - 1, GENERATION + 1]) {
      expect(() => guard.admit(attempt(1, { generation }))).toThrow(OwnerMoved)
    }
    const refused = expect.objectContaining({ generation: GENERATION })
    expect(() => guard.admit(attempt(1, { generation: 4 }))).toThrow(refused)
  })

  test('when the same write was sent again since', () => {
    const guard = new AttemptGuard(GENERATION)
    guard.admit(attempt(3, { attempt: 3, settledBelow: 3 }))
    expect(() => guard.admit(attempt(3))).toThrow(expect.objectContaining({ code: 'CONFLICT' }))
    expect(() => guard.admit(attempt(3, { attempt: 2, settledBelow: 3 }))).toThrow()
    guard.admit(attempt(3, { attempt: 4, settledBelow: 3 }))
  })

  test('when the client said that the write is over', () => {
    const guard = new AttemptGuard(GENERATION)
    guard.admit(attempt(1))
    guard.admit(attempt(9, { settledBelow: 4 }))
    expect(() => guard.admit(attempt(3))).toThrow(expect.objectContaining({ code: 'CONFLICT' }))
    guard.admit(attempt(4))
  })
})

test('clients do not know of each other', () => {
  const guard = new AttemptGuard(GENERATION)
  guard.admit(attempt(9, { attempt: 2, settledBelow: 9 }))
  guard.admit(attempt(1, { client: 'b' }))
})

test('writes that are over leave nothing but a number', () => {
  const guard = new AttemptGuard(GENERATION)
  for (let number = 1; number <= 1000; number++) {
    guard.admit(attempt(number, { attempt: 2, settledBelow: Math.max(1, number - 3) }))
  }
  const traces = [
    ...(guard as unknown as { clients: Map<string, { latest: Map<number, number> }> }).clients.values(),
  ]
  expect(traces.map(({ latest }) => latest.size)).toEqual([4])
})
