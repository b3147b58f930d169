/** The small parts that the jobs are made of. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { atOnce } from '../../src/curator/at-once.ts'
import { decodeInventory, encodeInventory } from '../../src/curator/reclaim-wire.ts'
import { SlotSets } from '../../src/curator/slot-sets.ts'
import type { CopyInfo } from '../../src/extent-store/types.ts'
import { EpochBarrier } from '../../src/vdisk/epoch-barrier.ts'

describe('sets of slots', () => {
  const pairs = fc.array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 65_534 })))

  test('are the same after a trip over the wire, and merge to their union', () => {
    fc.assert(
      fc.property(pairs, pairs, (left, right) => {
        const sets = [left, right].map((all) => {
          const set = new SlotSets()
          for (const [egroup, slot] of all) set.add(egroup, slot)
          return SlotSets.decode(set.encode())
        }) as [SlotSets, SlotSets]
        sets[0].merge(sets[1])
        const all = [...left, ...right]
        for (const [egroup, slot] of all) expect(sets[0].get(egroup)!.has(slot)).toBe(true)
        for (let egroup = 1; egroup <= 9; egroup++) {
          const slots = new Set(all.filter((pair) => pair[0] === egroup).map((pair) => pair[1]))
          expect(sets[0].get(egroup)?.count ?? 0).toBe(slots.size)
        }
      }),
      { numRuns: 50 },
    )
  })

  test('bytes that are none are refused', () => {
    expect(() => SlotSets.decode(Uint8Array.of(9, 0, 0, 0))).toThrow(
      expect.objectContaining({ code: 'PROTOCOL_ERROR' }),
    )
  })
})

test('an inventory lists sealed full copies only', () => {
  const copy: CopyInfo = {
    egroup: 7,
    stream: 1,
    kind: 'full',
    state: 'sealed',
    device: 'd',
    tier: 'ssd',
    generation: 1,
    length: 1024,
    allocatedBytes: 65_536,
    slotCount: 3,
  }
  const bytes = encodeInventory([
    copy,
    { ...copy, egroup: 8, state: 'open' },
    { ...copy, egroup: 9, kind: 'partial' },
  ])
  expect([...decodeInventory(bytes)]).toEqual([[7, { slotCount: 3, length: 1024, allocatedBytes: 65_536 }]])
})

describe('at once', () => {
  test('never more than so many, and every item', async () => {
    let running = 0
    let most = 0
    const done: number[] = []
    await atOnce([1, 2, 3, 4, 5], 2, async (item) => {
      most = Math.max(most, ++running)
      await Promise.resolve()
      running--
      done.push(item)
    })
    expect(most).toBe(2)
    expect(done.sort()).toEqual([1, 2, 3, 4, 5])
  })

  test('an error ends it when what was under way has ended', async () => {
    let running = 0
    const started: number[] = []
    const work = atOnce([1, 2, 3, 4], 2, async (item) => {
      started.push(item)
      running++
      await new Promise((resolve) => setImmediate(resolve))
      running--
      if (item === 1) throw new Error('one')
    })
    await expect(work).rejects.toThrow('one')
    expect(running).toBe(0)
    expect(started).not.toContain(4)
  })
})

describe('epoch barrier', () => {
  test('waits for what had entered, and for nothing that comes later', async () => {
    const barrier = new EpochBarrier()
    const first = barrier.enter()
    let passed = 0
    const one = barrier.passed().then(() => passed++)
    const later = barrier.enter()
    const two = barrier.passed().then(() => passed++)
    await new Promise((resolve) => setImmediate(resolve))
    expect(passed).toBe(0)
    barrier.leave(first)
    await one
    await new Promise((resolve) => setImmediate(resolve))
    expect(passed).toBe(1)
    barrier.leave(later)
    await two
    await barrier.passed()
  })
})
