/** A bag holds what was put in and not taken out, whatever the order. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Bag } from '../../src/base/bag.ts'

test('holds what a set would hold', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9 })), (toggles) => {
      const items = Array.from({ length: 10 }, () => ({ bagIndex: -1 }))
      const bag = new Bag<{ bagIndex: number }>()
      const model = new Set<{ bagIndex: number }>()
      for (const at of toggles) {
        const item = items[at]!
        if (model.delete(item)) bag.remove(item)
        else {
          model.add(item)
          bag.add(item)
        }
        expect(bag.size).toBe(model.size)
        expect(new Set(bag.all())).toEqual(model)
        for (const each of items) expect(each.bagIndex >= 0).toBe(model.has(each))
      }
    }),
  )
})

test('taking out what is not there changes nothing', () => {
  const bag = new Bag<{ bagIndex: number }>()
  const [kept, gone] = [{ bagIndex: -1 }, { bagIndex: -1 }]
  bag.add(kept)
  bag.add(gone)
  bag.remove(gone)
  bag.remove(gone)
  expect(bag.all()).toEqual([kept])
})
