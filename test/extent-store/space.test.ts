/** Units, placements, and the index: the parts that have no device. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeIndexBlock, encodeIndexBlock } from '../../src/extent-store/index-block.ts'
import { Placement, UNIT_BYTES } from '../../src/extent-store/placement.ts'
import { SlotIndex, SlotIndexCache } from '../../src/extent-store/slot-index.ts'
import { type Extent, UnitAllocator } from '../../src/extent-store/unit-allocator.ts'

function unitsOf(extents: readonly Extent[]): number[] {
  return extents.flatMap(({ start, count }) => Array.from({ length: count }, (_, i) => start + i))
}

describe('unit allocator', () => {
  test('never gives a unit twice, keeps what is to be kept, and can use the last unit', () => {
    const command = fc.oneof(
      fc.record({ take: fc.integer({ min: 1, max: 40 }), keep: fc.nat(20) }),
      fc.record({ give: fc.nat(1000) }),
      fc.record({ grow: fc.nat(1000), by: fc.integer({ min: 1, max: 8 }) }),
    )
    fc.assert(
      fc.property(
        fc.integer({ min: 33, max: 300 }),
        fc.array(command, { maxLength: 60 }),
        (units, commands) => {
          const allocator = new UnitAllocator(units)
          const taken: Extent[][] = []
          for (const each of commands) {
            if ('take' in each) {
              const fits = allocator.freeUnits - each.take >= each.keep
              const extents = allocator.allocate(each.take, each.keep)
              expect(extents !== undefined).toBe(fits)
              if (extents) taken.push(extents)
            } else if (taken.length > 0 && 'give' in each) {
              allocator.free(taken.splice(each.give % taken.length, 1)[0]!)
            } else if (taken.length > 0 && 'grow' in each) {
              const at = each.grow % taken.length
              const before = unitsOf(taken[at]!)
              const grown = allocator.extend(taken[at]!, each.by, 0)
              if (grown) {
                expect(unitsOf(grown).slice(0, before.length)).toEqual(before)
                expect(unitsOf(grown).length).toBe(before.length + each.by)
                taken[at] = grown
              }
            }
            const all = taken.flatMap(unitsOf)
            expect(new Set(all).size).toBe(all.length)
            expect(allocator.usedUnits).toBe(all.length)
            expect(Math.max(-1, ...all)).toBeLessThan(units)
          }
        },
      ),
      { numRuns: 150 },
    )
  })

  test('prefers one run, and goes back to the lowest one that is free', () => {
    const allocator = new UnitAllocator(128)
    const first = allocator.allocate(30, 0)!
    const second = allocator.allocate(30, 0)!
    allocator.free(first)
    expect(allocator.allocate(31, 0)).toEqual([{ start: 60, count: 31 }])
    expect(allocator.allocate(30, 0)).toEqual([{ start: 0, count: 30 }])
    expect(second).toEqual([{ start: 30, count: 30 }])
  })

  test('a claim of units that are used or outside takes nothing', () => {
    const allocator = new UnitAllocator(64)
    expect(allocator.claim([{ start: 10, count: 4 }])).toBe(true)
    expect(
      allocator.claim([
        { start: 0, count: 2 },
        { start: 13, count: 1 },
      ]),
    ).toBe(false)
    expect(allocator.claim([{ start: 60, count: 5 }])).toBe(false)
    expect(allocator.usedUnits).toBe(4)
  })
})

describe('placement', () => {
  test('pieces of a log range are its bytes, in order, each in its extent', () => {
    const extents = [
      { start: 5, count: 2 },
      { start: 1, count: 1 },
      { start: 9, count: 3 },
    ]
    const placement = new Placement(extents)
    const unitsInOrder = unitsOf(extents)
    fc.assert(
      fc.property(fc.nat(placement.bytes), fc.nat(placement.bytes), (a, b) => {
        const offset = Math.min(a, b)
        const length = Math.abs(a - b)
        let next = 0
        placement.forRange(offset, length, (at, from, bytes) => {
          expect(from).toBe(next)
          for (const inside of [0, bytes - 1]) {
            const log = offset + from + inside
            expect(at + inside).toBe(
              unitsInOrder[Math.floor(log / UNIT_BYTES)]! * UNIT_BYTES + (log % UNIT_BYTES),
            )
          }
          next += bytes
        })
        expect(next).toBe(length)
      }),
    )
    expect(unitsOf(placement.head(4))).toEqual(unitsInOrder.slice(0, 4))
    expect(unitsOf(placement.tail(4))).toEqual(unitsInOrder.slice(4))
  })

  test('units are released by the last reader, also of the placement before', () => {
    const old = new Placement([{ start: 0, count: 4 }])
    const next = new Placement([{ start: 0, count: 2 }])
    const released: string[] = []
    old.pin()
    old.retire(() => released.push('tail'), next)
    next.retire(() => released.push('head'))
    expect(released).toEqual([])
    old.unpin()
    expect(released).toEqual(['tail', 'head'])
  })
})

describe('slot index', () => {
  const row = fc.record({ slot: fc.nat(65_534), bytes: fc.integer({ min: 1, max: 32_768 }) })

  test('block reads back what was encoded, and any damage makes it unusable', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(row, { selector: (each) => each.slot, maxLength: 40 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (rows, at, bits) => {
          const index = new SlotIndex()
          let offset = 0
          for (const { slot, bytes } of rows) {
            index.add(slot, offset, bytes, bytes, slot * 3, slot * 5)
            offset += bytes
          }
          const block = encodeIndexBlock(4, offset, index)
          const read = decodeIndexBlock(block.slice(), 4, offset)!
          expect(read.summary()).toEqual(index.summary())
          for (const { slot } of rows) {
            expect(read.offset(read.find(slot))).toBe(index.offset(index.find(slot)))
            expect(read.checksumHi(read.find(slot))).toBe(slot * 3)
          }
          expect(decodeIndexBlock(block.slice(), 5, offset)).toBeUndefined()
          expect(decodeIndexBlock(block.slice(), 4, offset + 512)).toBeUndefined()
          const damaged = block.slice()
          damaged[at % damaged.length]! ^= bits
          expect(decodeIndexBlock(damaged, 4, offset)).toBeUndefined()
        },
      ),
      { numRuns: 100 },
    )
  })

  test('truncate forgets what lies behind, and only that', () => {
    const index = new SlotIndex()
    for (let slot = 0; slot < 100; slot++) index.add(slot * 7, slot * 10, 10, 10, 0, 0)
    index.truncate(500)
    expect(index.count).toBe(50)
    expect(index.find(49 * 7)).toBe(49)
    expect(index.find(50 * 7)).toBe(-1)
    expect(index.add(50 * 7, 500, 10, 10, 0, 0)).toBe(true)
    expect(index.add(50 * 7, 510, 10, 10, 0, 0)).toBe(false)
  })

  test('cache holds its budget, drops the least recently used, spares the pinned', () => {
    const holder = (pinned: boolean) => ({
      index: new SlotIndex() as SlotIndex | undefined,
      indexPinned: pinned,
    })
    const size = new SlotIndex().bytes
    const cache = new SlotIndexCache(size * 2)
    const [a, b, c, pinned] = [holder(false), holder(false), holder(false), holder(true)]
    cache.touch(pinned)
    cache.touch(a)
    cache.touch(b)
    expect([a.index, pinned.index !== undefined, b.index !== undefined]).toEqual([undefined, true, true])
    cache.touch(c)
    expect(b.index).toBeUndefined()
    expect(c.index).toBeDefined()
    expect(cache.bytes).toBe(size * 2)
  })
})
