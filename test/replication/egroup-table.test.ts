/**
 * The packed records of the directory. Guards: it is a map, whatever is put into it, in whatever order; a record comes out as
 * it went in, byte for byte as JSON; and it takes the memory that it is there to save.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type EgroupRecord, keys } from '../../src/cluster/records.ts'
import type { Versioned } from '../../src/cluster/records-view.ts'
import { EgroupTable } from '../../src/replication/egroup-table.ts'

const u32 = fc.oneof(fc.nat({ max: 5 }), fc.nat({ max: 0xffff_ffff }))
const copy = fc.record({
  node: fc.constantFrom('node-1', 'node-2', 'node-3', 'node-64'),
  tier: fc.constantFrom('ssd' as const, 'hdd' as const),
})
const ordinary = fc.record(
  {
    stream: u32,
    order: u32,
    state: fc.constantFrom('open' as const, 'sealed' as const),
    length: u32,
    generation: u32,
    rf: fc.integer({ min: 1, max: 3 }),
    copies: fc.array(copy, { maxLength: 4 }),
    movedAt: fc.integer({ min: 0, max: 2 ** 45 }),
  },
  { requiredKeys: ['stream', 'order', 'state', 'length', 'generation', 'rf', 'copies'] },
)
/** What this version does not write, but another might. */
const odd = fc.oneof(
  ordinary.map((record) => ({ ...record, later: true })),
  ordinary.map((record) => ({ ...record, stream: 2 ** 40 })),
  ordinary.map((record) => ({ ...record, rf: 9 })),
  fc
    .tuple(ordinary, fc.array(copy, { minLength: 5, maxLength: 6 }))
    .map(([record, copies]) => ({ ...record, copies })),
  ordinary.map((record) => ({ ...record, copies: [{ node: 'node-1', tier: 'ssd' as const, since: 4 }] })),
)
const record = fc.oneof({ weight: 9, arbitrary: ordinary }, { weight: 1, arbitrary: odd })
const step = fc.record({
  egroup: fc.integer({ min: 1, max: 150 }).map((n) => (n > 140 ? n * 0x100_0000 : n)),
  // Absent: it is removed.
  put: fc.option(fc.tuple(record, fc.nat({ max: 2 ** 45 })), { nil: undefined, freq: 4 }),
})

test('it does what a map does', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const table = new EgroupTable()
      const model = new Map<string, Versioned<EgroupRecord>>()
      for (const { egroup, put } of steps) {
        const key = keys.egroup(egroup)
        if (put === undefined) {
          table.delete(key)
          model.delete(key)
        } else {
          table.set(key, { value: put[0], revision: put[1] })
          model.set(key, { value: put[0], revision: put[1] })
        }
        expect(JSON.stringify(table.get(key))).toBe(JSON.stringify(model.get(key)))
        expect(table.size).toBe(model.size)
      }
      const sorted = (entries: Iterable<[string, unknown]>): string =>
        JSON.stringify([...entries].sort(([a], [b]) => (a < b ? -1 : 1)))
      expect(sorted(table.entries())).toBe(sorted(model.entries()))
      for (let egroup = 1; egroup <= 150; egroup++) {
        const key = keys.egroup(egroup)
        expect(JSON.stringify(table.get(key))).toBe(JSON.stringify(model.get(key)))
      }
    }),
    { numRuns: 300 },
  )
})

test('what is there all the time is met once by a walk, whatever comes and goes meanwhile', () => {
  const table = new EgroupTable()
  const value: EgroupRecord = {
    ...{ stream: 1, order: 1, state: 'sealed', length: 512, generation: 1, rf: 2 },
    copies: [{ node: 'node-1', tier: 'ssd' }],
  }
  for (let egroup = 1; egroup <= 1_000; egroup++) table.set(keys.egroup(egroup), { value, revision: egroup })
  const met = new Map<string, number>()
  let next = 2_000
  for (const [key] of table.entries()) {
    met.set(key, (met.get(key) ?? 0) + 1)
    // Every second one goes while the walk is on, and new ones come.
    table.delete(keys.egroup(2 * (1 + (next % 500))))
    table.set(keys.egroup(next++), { value, revision: 1 })
    if (next > 4_000) break
  }
  for (let egroup = 1; egroup <= 999; egroup += 2) expect(met.get(keys.egroup(egroup))).toBe(1)
})

test('100,000 records take at most 64 bytes each', () => {
  const table = new EgroupTable()
  for (let egroup = 1; egroup <= 100_000; egroup++) {
    const copies = [
      { node: `node-${egroup % 16}`, tier: 'ssd' as const },
      { node: `node-${(egroup + 1) % 16}`, tier: 'hdd' as const },
    ]
    const value: EgroupRecord = {
      ...{ stream: egroup % 100, order: egroup, state: 'sealed', length: 4 << 20, generation: 3, rf: 2 },
      copies,
    }
    table.set(keys.egroup(egroup), { value, revision: egroup })
    if (egroup > 2_000) expect(table.sizeBytes / table.size).toBeLessThanOrEqual(64)
  }
})
