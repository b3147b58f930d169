/** The register checker against histories made by a real register, and against a search through all orders. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cellBytes } from '../../src/sim/check/contents.ts'
import { DiskModel, type ReadToken, type WriteToken } from '../../src/sim/check/register.ts'

type Outcome = 'acked' | 'unknown' | 'refused'

interface Op {
  kind: 'write' | 'read'
  /** Written or read. */
  value: number
  start: number
  /** Of the call; what a write of unknown outcome does may come later. */
  end: number
  outcome: Outcome
}

interface Choice {
  kind: number
  length: number
  /** When within the call it takes effect, 0…1; of an unknown write up to a while after it. */
  at: number
  gap: number
}

const choice = fc.record({
  kind: fc.integer({ min: 0, max: 99 }),
  length: fc.integer({ min: 1, max: 40 }),
  at: fc.double({ min: 0.01, max: 0.99, noNaN: true }),
  gap: fc.integer({ min: 0, max: 15 }),
})

/** Plays the choices on one register: overlapping calls, each taking effect at one moment. */
function play(choices: readonly Choice[], trims: boolean): Op[] {
  const effects: Array<{ at: number; op: Op; applies: boolean }> = []
  let now = 0
  choices.forEach(({ kind, length, at, gap }, i) => {
    now += gap + i / 1_000
    const read = kind < 50
    const outcome: Outcome = read || kind < 80 ? 'acked' : kind < 94 ? 'unknown' : 'refused'
    const value = read || (trims && kind % 3 === 0) ? 0 : i + 1
    const op: Op = { kind: read ? 'read' : 'write', value, start: now, end: now + length, outcome }
    const reach = outcome === 'unknown' ? length * 4 : length
    effects.push({
      at: now + at * reach,
      op,
      applies: outcome !== 'refused' && !(outcome === 'unknown' && kind % 2),
    })
  })
  let register = 0
  for (const { op, applies } of effects.toSorted((a, b) => a.at - b.at)) {
    if (op.kind === 'read') op.value = register
    else if (applies) register = op.value
  }
  return effects.map(({ op }) => op)
}

/** Whether the checker takes the history. */
function accepts(ops: readonly Op[]): boolean {
  const disk = new DiskModel(8)
  const tokens = new Map<Op, WriteToken | ReadToken>()
  const moments = ops.flatMap((op) => [
    { at: op.start, op, begins: true },
    { at: op.end, op, begins: false },
  ])
  for (const { op, begins } of moments.toSorted((a, b) => a.at - b.at)) {
    if (begins) tokens.set(op, op.kind === 'read' ? disk.beginRead(0, 1) : disk.beginWrite(0, 1, op.value))
    else {
      const token = tokens.get(op)!
      const violation =
        'zones' in token
          ? disk.endWrite(token, op.outcome as Outcome)
          : disk.endRead(token, cellBytes(0, 1, op.value))
      if (violation !== undefined) return false
    }
  }
  return true
}

/** Whether some order of the operations explains every read: a search through all of them. */
function linearizable(ops: readonly Op[]): boolean {
  const todo = ops.filter((op) => op.outcome !== 'refused')
  const endOf = (op: Op) => (op.outcome === 'unknown' ? Number.POSITIVE_INFINITY : op.end)
  const failed = new Set<string>()
  const search = (done: number, register: number): boolean => {
    const key = `${done} ${register}`
    if (failed.has(key)) return false
    const left = todo.filter((_, i) => !(done & (1 << i)))
    if (left.every((op) => op.outcome === 'unknown')) return true
    const deadline = Math.min(...left.map(endOf))
    for (let i = 0; i < todo.length; i++) {
      const op = todo[i]!
      if (done & (1 << i) || op.start > deadline) continue
      if (op.kind === 'read' ? op.value !== register : false) continue
      if (search(done | (1 << i), op.value)) return true
    }
    failed.add(key)
    return false
  }
  return search(0, 0)
}

/** Gives one read the value of another write. */
function mutate(ops: readonly Op[], which: number, from: number): Op[] {
  const reads = ops.filter((op) => op.kind === 'read')
  const writes = ops.filter((op) => op.kind === 'write')
  const target = reads[which % Math.max(1, reads.length)]
  const source = writes[from % Math.max(1, writes.length)]
  return ops.map((op) => (op === target && source ? { ...op, value: source.value } : { ...op }))
}

describe('histories of a real register', () => {
  it('are all accepted', () => {
    fc.assert(
      fc.property(fc.array(choice, { maxLength: 120 }), fc.boolean(), (choices, trims) => {
        expect(accepts(play(choices, trims))).toBe(true)
      }),
      { numRuns: 1_500 },
    )
  })
})

describe('changed histories', () => {
  const cases = fc.tuple(fc.array(choice, { minLength: 2, maxLength: 11 }), fc.nat(20), fc.nat(20))

  it('are judged as by a search through all orders', () => {
    let rejected = 0
    fc.assert(
      fc.property(cases, ([choices, which, from]) => {
        const ops = mutate(play(choices, false), which, from)
        const legal = linearizable(ops)
        if (!legal) rejected++
        expect(accepts(ops)).toBe(legal)
      }),
      { numRuns: 4_000 },
    )
    expect(rejected).toBeGreaterThan(500)
  })

  it('with trims too', () => {
    let rejected = 0
    fc.assert(
      fc.property(cases, ([choices, which, from]) => {
        const ops = mutate(play(choices, true), which, from)
        const legal = linearizable(ops)
        if (!legal) rejected++
        expect(accepts(ops)).toBe(legal)
      }),
      { numRuns: 4_000 },
    )
    expect(rejected).toBeGreaterThan(500)
  })
})

describe('histories of real disks with snapshots and clones', () => {
  const step = fc.record({
    kind: fc.nat(99),
    disk: fc.nat(20),
    cell: fc.nat(3),
    length: fc.integer({ min: 0, max: 6 }),
  })

  it('are all accepted', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const disks = [{ model: new DiskModel(8), data: [0, 0, 0, 0] }]
        const later: Array<{ at: number; run: () => void }> = []
        steps.forEach(({ kind, disk, cell, length }, now) => {
          for (const due of later.filter(({ at }) => at === now)) due.run()
          const { model, data } = disks[disk % disks.length]!
          const call = (end: () => void) => later.push({ at: now + 1 + length, run: end })
          if (kind < 45) {
            const read = model.beginRead(cell, 1)
            // Takes effect at its begin or at its end.
            const early = kind % 2 ? data[cell] : undefined
            call(() => expect(model.endRead(read, cellBytes(cell, 1, early ?? data[cell]!))).toBeUndefined())
          } else if (kind < 85) {
            const value = kind % 4 === 0 ? 0 : model.valuesFor(cell, 1)
            const write = model.beginWrite(cell, 1, value)
            if (kind % 2) data[cell] = value
            call(() => {
              if (!(kind % 2)) data[cell] = value
              expect(model.endWrite(write, kind % 5 ? 'acked' : 'unknown')).toBeUndefined()
            })
          } else {
            const token = model.snapshotBegin()
            const image = [...data]
            call(() => {
              disks.push({ model: new DiskModel(8, model.snapshotEnd(token)), data: image })
            })
          }
        })
        for (const { at, run } of later) if (at >= steps.length) run()
        for (const { model, data } of disks.toReversed()) {
          data.forEach((value, cell) => {
            expect(model.check(cell, cellBytes(cell, 1, value))).toBeUndefined()
          })
        }
      }),
      { numRuns: 300 },
    )
  })
})
