/** Guards: a Bitset is a Set of integers, and survives being written as bytes. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Bitset } from '../../src/base/bitset.ts'

const members = fc.array(fc.nat(500))

function bitsetOf(indices: Iterable<number>): Bitset {
  const set = new Bitset()
  for (const index of indices) set.set(index)
  return set
}

function list(set: Bitset): number[] {
  const indices: number[] = []
  set.forEach((index) => {
    indices.push(index)
  })
  return indices
}

const ascending = (indices: Iterable<number>) => [...new Set(indices)].sort((a, b) => a - b)

describe('Bitset', () => {
  it('behaves as a Set', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(300))), (steps) => {
        const set = new Bitset(10)
        const model = new Set<number>()
        for (const [add, index] of steps) {
          if (add) {
            expect(set.set(index)).toBe(!model.has(index))
            model.add(index)
          } else {
            expect(set.delete(index)).toBe(model.delete(index))
          }
          expect(set.count).toBe(model.size)
        }
        expect(list(set)).toEqual(ascending(model))
        for (let index = 0; index < 400; index++) {
          if (set.has(index) !== model.has(index)) expect.unreachable(`has(${index}) differs`)
        }
      }),
    )
  })

  it('round trips as bytes, and tells no size but its members', () => {
    fc.assert(
      fc.property(members, fc.nat(2000), (indices, sizeBits) => {
        const set = new Bitset(sizeBits)
        for (const index of indices) set.set(index)
        const bytes = set.toBytes()
        expect(Buffer.compare(bytes, bitsetOf(indices).toBytes())).toBe(0)
        const back = Bitset.fromBytes(bytes)
        expect(list(back)).toEqual(ascending(indices))
        expect(back.count).toBe(set.count)
      }),
    )
    expect([...bitsetOf([0, 9, 31]).toBytes()]).toEqual([1, 2, 0, 128])
  })

  it('joins with another', () => {
    fc.assert(
      fc.property(members, members, (ours, theirs) => {
        const set = bitsetOf(ours)
        const other = bitsetOf(theirs)
        set.or(other)
        expect(list(set)).toEqual(ascending([...ours, ...theirs]))
        expect(set.count).toBe(list(set).length)
        expect(list(other)).toEqual(ascending(theirs))
      }),
    )
  })

  it('can be emptied, and holds large members', () => {
    const set = bitsetOf([3, 70_000])
    set.clear()
    expect([set.count, set.has(3), set.toBytes().length]).toEqual([0, false, 0])
    set.set(5_000_000)
    expect(list(set)).toEqual([5_000_000])
  })
})
