/**
 * Pages that a checkpoint has taken. Guards: it reads them as they were at that moment, whatever is written until then, and what
 * was written since is dirty again: a snapshot is of one moment, and no write is left out of the next checkpoint.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PageCache } from '../../src/vdisk/page-cache.ts'
import { PAGE_BYTES, PAGE_ENTRIES, type Page, PageMap } from '../../src/vdisk/page-map.ts'

const LEAVES = 4
const BLOCKS = LEAVES * PAGE_ENTRIES

async function mapOfLeaves(): Promise<PageMap> {
  const map = new PageMap(
    null,
    0,
    0,
    () => Promise.reject(new Error('nothing is stored')),
    new PageCache(2 ** 20),
  )
  await map.grow(LEAVES)
  await map.pin(0, BLOCKS)
  return map
}

const run = fc.record({
  start: fc.nat({ max: BLOCKS - 8 }),
  count: fc.integer({ min: 1, max: 8 }),
  egroup: fc.nat({ max: 3 }),
  ref: fc.nat({ max: 1_000 }),
})
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ write: run }) },
  { weight: 2, arbitrary: fc.constant('take' as const) },
  { weight: 2, arbitrary: fc.constant('read' as const) },
  { weight: 1, arbitrary: fc.constant('fail' as const) },
)

test('what is read of a page is what it was when it was taken', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
      const map = await mapOfLeaves()
      const now = new Uint32Array(BLOCKS * 2)
      const imageOf = (page: Page, of: Uint32Array): Uint32Array =>
        of.slice(page.index * PAGE_ENTRIES * 2, (page.index + 1) * PAGE_ENTRIES * 2)
      let taken: Array<{ page: Page; image: Uint32Array }> = []
      const written = new Set<number>()
      for (const each of steps) {
        if (each === 'take' && taken.length === 0) {
          taken = map.takeDirty(0).map((page) => ({ page, image: imageOf(page, now) }))
          expect(new Set(taken.map(({ page }) => page.index))).toEqual(written)
          written.clear()
        } else if (each === 'read' && taken.length > 0) {
          const { page, image } = taken.pop()!
          const bytes = map.readTaken(page)
          expect(bytes.length).toBe(PAGE_BYTES)
          expect(Buffer.compare(bytes, new Uint8Array(image.buffer))).toBe(0)
          map.release(page)
        } else if (each === 'fail') {
          for (const { page } of taken) {
            map.giveBack(page)
            written.add(page.index)
          }
          taken = []
        } else if (typeof each === 'object') {
          const { start, count, egroup, ref } = each.write
          map.setRun(start, count, egroup, ref)
          for (let i = 0; i < count; i++) {
            now[(start + i) * 2] = egroup
            now[(start + i) * 2 + 1] = egroup === 0 ? 0 : ref + i
            written.add(Math.floor((start + i) / PAGE_ENTRIES))
          }
        }
      }
      expect(map.dirtyLeaves).toBe(written.size)
      for (let leaf = 0; leaf < LEAVES; leaf++) {
        const page = map.leaf(leaf)!
        expect(page.words).toEqual(imageOf(page, now))
      }
    }),
    { numRuns: 300 },
  )
})
