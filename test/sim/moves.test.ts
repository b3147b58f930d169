/** The checker of moves tells of a second move within the hold time, and of bytes that were carried too fast. */
import { expect, test } from 'vitest'
import { encodeRecord } from '../../src/cluster/records.ts'
import { HOLD_MS } from '../../src/locality/marks.ts'
import { MoveCheck } from '../../src/sim/check/moves.ts'
import type { SimCluster } from '../../src/sim/cluster.ts'

const MIB = 1024 * 1024

function setUp() {
  const load = { bytes: 0, ms: 0 }
  const loop = { now: 0 }
  const state = { asked: false, found: [] as string[] }
  const cvm = { mover: { load } }
  const sim = { loop, cluster: { nodes: ['node-1'] }, cvm: () => cvm } as unknown as SimCluster
  const check = new MoveCheck(
    sim,
    true,
    () => state.asked,
    (what) => state.found.push(what),
  )
  const move = (at: number, movedAt: number) => {
    loop.now = at
    check.changed('egroup/00000001', encodeRecord({ movedAt }))
  }
  return { check, load, state, move }
}

test('a move within the hold time of the last one is told, one after it is not', () => {
  const { move, state } = setUp()
  move(0, 1)
  move(1_000, 1)
  move(HOLD_MS, 2)
  expect(state.found).toEqual([])
  move(HOLD_MS + 5_000, 3)
  expect(state.found).toHaveLength(1)
})

test('moves and background rebuilds beyond their rates are told', () => {
  const { check, load, state } = setUp()
  Object.assign(load, { bytes: 128 * MIB, ms: 1_000 })
  check.look()
  const rebuilt = { type: 'rebuilt', egroups: 1, bytes: 64 * MIB, at: '', time: 0 } as const
  check.event({ ...rebuilt, tookMs: 500 })
  state.asked = true
  check.event({ ...rebuilt, tookMs: 10 })
  expect(state.found).toEqual([])
  load.bytes *= 2
  check.look()
  state.asked = false
  check.event({ ...rebuilt, tookMs: 10 })
  expect(state.found).toHaveLength(2)
})
