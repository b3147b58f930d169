/**
 * Guards: the cache answers with the bytes that were stored under the key, or not at all; it never keeps more than its
 * budget; a scan does not sweep out what is used; what is overwritten keeps its place.
 */
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { BLOCK_BYTES } from '../../src/base/units.ts'
import { BlockCache } from '../../src/vdisk/block-cache.ts'

const BYTES_PER_BLOCK = BLOCK_BYTES + 24

/** The one content of this key: stored slots never change. */
function contentOf(egroup: number, ref: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES, `${egroup}/${ref} `)
  block.writeUInt32LE(egroup * 1000 + ref, BLOCK_BYTES - 4)
  return block
}

function has(cache: BlockCache, egroup: number, ref: number): boolean {
  return cache.equals(egroup, ref, contentOf(egroup, ref), 0) !== undefined
}

function holds(cache: BlockCache, egroup: number, ref: number): boolean {
  return cache.equals(egroup, ref, contentOf(egroup, ref), 0) === true
}

const key = { egroup: fc.integer({ min: 1, max: 4 }), ref: fc.nat(12) }
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('insert' as const), ...key, offset: fc.nat(9) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('copyTo' as const),
      ...key,
      from: fc.nat(BLOCK_BYTES),
      length: fc.nat(BLOCK_BYTES),
      offset: fc.nat(9),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('equals' as const), ...key }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('replace' as const),
      ...key,
      newEgroup: key.egroup,
      newRef: key.ref,
      offset: fc.nat(9),
    }),
  },
)

describe('BlockCache', () => {
  it('gives the right bytes or none, within its bound, whatever happens', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20 }), fc.array(step, { maxLength: 120 }), (capacity, steps) => {
        const cache = new BlockCache(capacity * BYTES_PER_BLOCK)
        expect(cache.capacity).toBe(capacity)
        /** Every key that may be there: inserted, and not removed since. */
        const model = new Set<string>()
        const target = Buffer.alloc(BLOCK_BYTES + 20)
        let copies = 0
        for (const action of steps) {
          const { egroup } = action
          const { ref } = action
          const name = `${egroup}/${ref}`
          const content = contentOf(egroup, ref)
          if (action.kind === 'insert') {
            const source = Buffer.concat([Buffer.alloc(action.offset, 1), content, Buffer.alloc(3, 2)])
            cache.insert(egroup, ref, source, action.offset)
            model.add(name)
            if (capacity > 0) expect(cache.equals(egroup, ref, content, 0)).toBe(true)
          } else if (action.kind === 'replace') {
            const { newEgroup, newRef } = action
            const [had, hasNew] = [has(cache, egroup, ref), has(cache, newEgroup, newRef)]
            const source = Buffer.concat([Buffer.alloc(action.offset, 1), contentOf(newEgroup, newRef)])
            cache.replace(egroup, ref, newEgroup, newRef, source, action.offset)
            const isReplaced = had && !hasNew
            if (isReplaced) model.add(`${newEgroup}/${newRef}`)
            expect(cache.isReadHere(newEgroup, newRef)).toBe(hasNew)
            expect(has(cache, newEgroup, newRef)).toBe(had || hasNew)
            expect(cache.isReadHere(newEgroup, newRef)).toBe(had || hasNew)
            expect(has(cache, egroup, ref)).toBe(had && (!isReplaced || name === `${newEgroup}/${newRef}`))
          } else if (action.kind === 'equals') {
            const answer = cache.equals(egroup, ref, content, 0)
            expect([true, undefined]).toContain(answer)
            if (!model.has(name)) expect(answer).toBeUndefined()
            content[BLOCK_BYTES - 1]! ^= 1
            if (answer === true) expect(cache.equals(egroup, ref, content, 0)).toBe(false)
          } else {
            const length = Math.min(action.length, BLOCK_BYTES - action.from)
            target.fill(0xa5)
            copies++
            const hit = cache.copyTo(egroup, ref, target, action.offset, action.from, length)
            if (!model.has(name)) expect(hit).toBe(false)
            const end = action.offset + length
            const expected = Buffer.alloc(target.length, 0xa5)
            if (hit) content.copy(expected, action.offset, action.from, action.from + length)
            expect(target.equals(expected)).toBe(true)
            expect(end).toBeLessThanOrEqual(target.length)
          }
          expect(cache.count).toBeLessThanOrEqual(capacity)
        }
        expect(cache.hits + cache.misses).toBe(copies)
        // Each key at most once: what can be found is what is counted.
        let found = 0
        for (let egroup = 1; egroup <= 4; egroup++) {
          for (let ref = 0; ref <= 12; ref++) if (holds(cache, egroup, ref)) found++
        }
        expect(found).toBe(cache.count)
      }),
      { numRuns: 200 },
    )
  })

  it('keeps everything until it is full, over the borders of chunks', () => {
    const cache = new BlockCache(1500 * BYTES_PER_BLOCK)
    for (let ref = 0; ref < 1500; ref++) cache.insert(1, ref, contentOf(1, ref), 0)
    expect(cache.count).toBe(1500)
    for (let ref = 0; ref < 1500; ref++) if (!holds(cache, 1, ref)) expect.unreachable(`block ${ref} is gone`)
    cache.insert(2, 0, contentOf(2, 0), 0)
    expect(cache.count).toBe(1500)
    expect(holds(cache, 2, 0)).toBe(true)
  })

  it('does not let a scan sweep out what is in use', () => {
    const cache = new BlockCache(500 * BYTES_PER_BLOCK)
    const block = Buffer.alloc(BLOCK_BYTES)
    for (let round = 0; round < 2; round++) {
      for (let ref = 0; ref < 300; ref++) {
        if (!cache.copyTo(1, ref, block, 0, 0, BLOCK_BYTES)) cache.insert(1, ref, contentOf(1, ref), 0)
      }
    }
    for (let ref = 0; ref < 5000; ref++) cache.insert(2, ref, block, 0)
    let kept = 0
    for (let ref = 0; ref < 300; ref++) if (holds(cache, 1, ref)) kept++
    expect(kept).toBe(300)
  })

  it('takes a block that comes back soon into the main queue', () => {
    const cache = new BlockCache(100 * BYTES_PER_BLOCK)
    const block = Buffer.alloc(BLOCK_BYTES)
    let next = 0
    const scan = (blocks: number) => {
      for (let n = 0; n < blocks; n++) cache.insert(9, next++, block, 0)
    }
    scan(100)
    cache.insert(1, 1, contentOf(1, 1), 0)
    scan(110)
    expect(cache.equals(1, 1, block, 0)).toBeUndefined()
    cache.insert(1, 1, contentOf(1, 1), 0)
    scan(5)
    expect(holds(cache, 1, 1)).toBe(true)
    scan(1000)
    expect(holds(cache, 1, 1)).toBe(true)
  })

  it('gives an overwritten block the place and the hits of what it was', () => {
    const cache = new BlockCache(100 * BYTES_PER_BLOCK)
    for (let ref = 0; ref < 100; ref++) cache.insert(1, ref, contentOf(1, ref), 0)
    expect(holds(cache, 1, 0)).toBe(true)
    cache.replace(1, 0, 2, 0, contentOf(2, 0), 0)
    cache.replace(1, 1, 2, 1, contentOf(2, 1), 0)
    expect(cache.count).toBe(100)
    // The one that was hit goes round once more, the other is the first to go.
    cache.insert(3, 0, contentOf(3, 0), 0)
    expect([has(cache, 2, 0), has(cache, 2, 1)]).toEqual([true, false])
  })

  it('keeps nothing of a block for which there is no memory', () => {
    const cache = new BlockCache(10 * BYTES_PER_BLOCK)
    const block = contentOf(1, 1)
    const Memory = Uint8Array
    vi.stubGlobal(
      'Uint8Array',
      new Proxy(Memory, {
        construct(target, args) {
          if (args[0] === 10 * BLOCK_BYTES) throw new RangeError('Array buffer allocation failed')
          return Reflect.construct(target, args)
        },
      }),
    )
    try {
      expect(() => cache.insert(1, 1, block, 0)).toThrow('allocation failed')
    } finally {
      vi.unstubAllGlobals()
    }
    cache.insert(1, 2, contentOf(1, 2), 0)
    expect(cache.count).toBe(1)
    expect([has(cache, 1, 1), holds(cache, 1, 2)]).toEqual([false, true])
  })

  it('treats blocks without an egroup, and parts outside a block, as bugs', () => {
    const cache = new BlockCache(10 * BYTES_PER_BLOCK)
    expect(() => cache.insert(0, 1, Buffer.alloc(BLOCK_BYTES), 0)).toThrow('whole stored block')
    expect(() => cache.insert(1, 1, Buffer.alloc(BLOCK_BYTES), 1)).toThrow('whole stored block')
    cache.insert(1, 1, Buffer.alloc(BLOCK_BYTES), 0)
    expect(() => cache.replace(1, 1, 2, 1, Buffer.alloc(BLOCK_BYTES), 1)).toThrow('whole stored block')
    expect(() => cache.copyTo(1, 1, Buffer.alloc(BLOCK_BYTES * 2), 0, 1, BLOCK_BYTES)).toThrow(
      'inside the block',
    )
  })
})
