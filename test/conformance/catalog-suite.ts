/** What every `Catalog` promises: `runCatalogTests('name', setup)`. */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Catalog, CatalogChange, CatalogTransaction } from '../../src/platform/types.ts'
import { codeOfFailure } from './device-suite.ts'
import { bytesOf, textOf } from './network-suite.ts'

export interface CatalogUnderTest {
  /** Blank. */
  readonly catalog: Catalog
  /** Lets time pass for leases. */
  pass(ms: number): Promise<void>
  /** Crashes and restarts the catalog; absent where the test cannot. */
  restart?(): Promise<Catalog>
  cleanup?(): Promise<void>
}

export function runCatalogTests(name: string, setup: () => Promise<CatalogUnderTest>): void {
  describe(`Catalog: ${name}`, () => {
    let under: CatalogUnderTest
    let catalog: Catalog

    beforeEach(async () => {
      under = await setup()
      catalog = under.catalog
    })
    afterEach(async () => {
      await under.cleanup?.()
    })

    const put = async (key: string, value: string, lease?: string): Promise<number> => {
      const each = { key, value: bytesOf(value), ...(lease === undefined ? {} : { lease }) }
      const result = await catalog.commit({ put: [each] })
      expect(result.ok).toBe(true)
      return result.revision
    }
    const textAt = async (key: string): Promise<string | undefined> => {
      const entry = await catalog.get(key)
      return entry && textOf(entry.value)
    }
    const keys = async (prefix: string): Promise<string[]> =>
      (await catalog.list(prefix)).map(({ key }) => key)
    /** Watches from now on; each element is one call. */
    const watched = (prefix: string): string[][] => {
      const calls: string[][] = []
      catalog.watch(prefix, (changes) => calls.push(changes.map(nameOf)))
      return calls
    }
    const settle = (): Promise<void> => under.pass(1)

    it('gives back what was put, with its revision, and nothing for a key that is not there', async () => {
      const revision = await put('a', 'one')
      expect(await catalog.get('a')).toEqual({ key: 'a', value: bytesOf('one'), revision })
      expect(await catalog.get('b')).toBeUndefined()
      await put('empty', '')
      expect(await textAt('empty')).toBe('')
    })

    it('lists a prefix in byte order', async () => {
      for (const key of ['b/2', 'a', 'b/10', 'b/1', 'b', 'c', 'b0', 'b/é', 'b/~']) await put(key, key)
      expect(await keys('b/')).toEqual(['b/1', 'b/10', 'b/2', 'b/~', 'b/é'])
      expect(await keys('')).toEqual(['a', 'b', 'b/1', 'b/10', 'b/2', 'b/~', 'b/é', 'b0', 'c'])
      expect(await keys('x')).toEqual([])
    })

    it('gives each transaction the next revision, and its keys that revision', async () => {
      const first = await put('a', '1')
      const result = await catalog.commit({
        put: [
          { key: 'b', value: bytesOf('2') },
          { key: 'c', value: bytesOf('3') },
        ],
        remove: ['a'],
      })
      expect(result).toEqual({ ok: true, revision: first + 1 })
      expect((await catalog.list('')).map(({ key, revision }) => [key, revision])).toEqual([
        ['b', first + 1],
        ['c', first + 1],
      ])
    })

    it('applies all of a transaction when all conditions hold, else nothing', async () => {
      const revision = await put('a', '1')
      const wrong: CatalogTransaction = {
        when: [
          { key: 'a', revision },
          { key: 'b', revision: 7 },
        ],
        put: [{ key: 'c', value: bytesOf('3') }],
        remove: ['a'],
      }
      expect(await catalog.commit(wrong)).toEqual({ ok: false, revision })
      expect(await keys('')).toEqual(['a'])
      const right = { ...wrong, when: [wrong.when![0]!, { key: 'b', revision: 0 }] }
      expect((await catalog.commit(right)).ok).toBe(true)
      expect(await keys('')).toEqual(['c'])
    })

    it('lets one of many concurrent compare-and-sets win', async () => {
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          catalog.commit({
            when: [{ key: 'owner', revision: 0 }],
            put: [{ key: 'owner', value: bytesOf(`${index}`) }],
          }),
        ),
      )
      expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1)
      expect(await textAt('owner')).toBe('0')
    })

    it('judges a transaction after all earlier ones, also unanswered ones', async () => {
      const first = catalog.commit({ put: [{ key: 'a', value: bytesOf('1') }] })
      const blind = catalog.commit({
        when: [{ key: 'a', revision: 0 }],
        put: [{ key: 'a', value: bytesOf('2') }],
      })
      const remove = catalog.commit({ remove: ['a'] })
      const again = catalog.commit({
        when: [{ key: 'a', revision: 0 }],
        put: [{ key: 'a', value: bytesOf('3') }],
      })
      expect((await Promise.all([first, blind, remove, again])).map(({ ok }) => ok)).toEqual([
        true,
        false,
        true,
        true,
      ])
      expect(await textAt('a')).toBe('3')
    })

    it('shows, to whoever lost, what it lost against', async () => {
      void catalog.commit({ put: [{ key: 'a', value: bytesOf('winner') }] })
      await catalog.commit({ when: [{ key: 'a', revision: 0 }] })
      expect(await textAt('a')).toBe('winner')
    })

    it('refuses a key that is no key, or that comes twice, and changes nothing', async () => {
      const value = bytesOf('x')
      for (const transaction of [
        { put: [{ key: '', value }] },
        { remove: [''] },
        { put: [{ key: 'k'.repeat(5000), value }] },
        { put: [{ key: 'lone \ud800', value }] },
        {
          put: [
            { key: 'a', value },
            { key: 'a', value },
          ],
        },
        { put: [{ key: 'a', value }], remove: ['a'] },
      ]) {
        expect(await codeOfFailure(catalog.commit(transaction))).toBe('BAD_ARGUMENT')
      }
      expect(await keys('')).toEqual([])
    })

    it('tells a watch of later changes under its prefix, in order of revision', async () => {
      await put('w/before', '0')
      const calls = watched('w/')
      const revision = await put('w/a', '1')
      await catalog.commit({
        put: [
          { key: 'w/b', value: bytesOf('2') },
          { key: 'x', value: bytesOf('no') },
        ],
        remove: ['w/before', 'w/never'],
      })
      await settle()
      expect(calls.flat()).toEqual([
        `w/a=1@${revision}`,
        `w/b=2@${revision + 1}`,
        `w/before gone@${revision + 1}`,
      ])
    })

    it('never calls a watch from inside a call, and only when the change can be read', async () => {
      let inside = false
      const seen: Array<string | undefined> = []
      const reentered: boolean[] = []
      catalog.watch('', (changes) => {
        reentered.push(inside)
        for (const { key } of changes) void textAt(key).then((value) => seen.push(value))
      })
      inside = true
      const commit = catalog.commit({ put: [{ key: 'a', value: bytesOf('1') }] })
      inside = false
      await commit
      await settle()
      expect(reentered).toEqual([false])
      expect(seen).toEqual(['1'])
    })

    it('lets a watch commit, and end itself', async () => {
      const calls: string[] = []
      const end = catalog.watch('a', (changes) => {
        calls.push(...changes.map(({ key }) => key))
        end()
        void catalog.commit({ put: [{ key: 'a2', value: bytesOf('from the watch') }] })
      })
      await put('a1', '')
      await settle()
      await settle()
      expect(calls).toEqual(['a1'])
      expect(await textAt('a2')).toBe('from the watch')
    })

    it('ends a watch when told, also for what it was not told yet', async () => {
      const calls: string[] = []
      const end = catalog.watch('', (changes) => calls.push(...changes.map(({ key }) => key)))
      const commit = put('a', '1')
      end()
      await commit
      await settle()
      expect(calls).toEqual([])
    })

    it('removes the keys of a lease when it runs out, and tells the watches', async () => {
      await catalog.grantLease('L', 40)
      await put('node/1', 'up', 'L')
      await put('stays', 'x')
      const calls = watched('node/')
      expect(await textAt('node/1')).toBe('up')
      await under.pass(100)
      expect(await keys('')).toEqual(['stays'])
      expect(calls.flat()).toEqual([expect.stringMatching(/^node\/1 gone@/)])
      expect(await catalog.keepLease('L')).toBe(false)
      expect(await codeOfFailure(put('node/1', 'up', 'L'))).toBe('LEASE_EXPIRED')
    })

    it('keeps a lease as long as it is renewed', async () => {
      await catalog.grantLease('L', 120)
      await put('a', 'x', 'L')
      for (let round = 0; round < 5; round++) {
        await under.pass(50)
        expect(await catalog.keepLease('L')).toBe(true)
      }
      expect(await textAt('a')).toBe('x')
    })

    it('revokes a lease at once, and does nothing for one that has ended', async () => {
      await catalog.grantLease('L', 60_000)
      await put('a', 'x', 'L')
      expect(await codeOfFailure(catalog.grantLease('L', 60_000))).toBe('ALREADY_EXISTS')
      await catalog.revokeLease('L')
      expect(await keys('')).toEqual([])
      await catalog.revokeLease('L')
      await catalog.grantLease('L', 60_000)
      await catalog.revokeLease('L')
    })

    it('moves a key out of a lease when it is put without one, and into one when put with', async () => {
      await catalog.grantLease('L', 60_000)
      await put('a', 'leased', 'L')
      await put('a', 'free')
      await put('b', 'free')
      await put('b', 'leased', 'L')
      await catalog.revokeLease('L')
      expect(await keys('')).toEqual(['a'])
      expect(await textAt('a')).toBe('free')
    })

    it('gives keys under a lease revisions like all others', async () => {
      await catalog.grantLease('L', 60_000)
      const first = await put('a', '1')
      expect(await put('b', '2', 'L')).toBe(first + 1)
      expect(await put('c', '3')).toBe(first + 2)
      expect((await catalog.commit({ when: [{ key: 'b', revision: first }] })).ok).toBe(false)
      expect((await catalog.commit({ when: [{ key: 'b', revision: first + 1 }] })).ok).toBe(true)
    })

    it('keeps over a restart what is under no lease, with its revisions, and uses no revision twice', async () => {
      if (!under.restart) return
      const first = await put('a', '1')
      await put('gone', 'x')
      await catalog.commit({ remove: ['gone'] })
      await catalog.grantLease('L', 60_000)
      await put('leased', 'x', 'L')
      await put('was durable', 'x')
      await put('was durable', 'x', 'L')
      const last = await put('leased', 'y', 'L')
      catalog = await under.restart()
      expect(await catalog.list('')).toEqual([{ key: 'a', value: bytesOf('1'), revision: first }])
      expect(await catalog.keepLease('L')).toBe(false)
      expect(await put('b', '2')).toBeGreaterThan(last)
    })

    it('equals a map under any sequence of transactions', async () => {
      const key = fc.constantFrom('a', 'b', 'c', 'd', 'e')
      const transaction = fc.record({
        when: fc.array(fc.record({ key, fresh: fc.boolean() }), { maxLength: 2 }),
        put: fc.uniqueArray(key, { maxLength: 3 }),
        remove: fc.uniqueArray(key, { maxLength: 2 }),
      })
      const model = new Map<string, { value: string; revision: number }>()
      let count = 0
      await fc.assert(
        fc.asyncProperty(fc.array(transaction, { maxLength: 10 }), async (transactions) => {
          for (const { when, put: puts, remove } of transactions) {
            count += 1
            const removed = remove.filter((each) => !puts.includes(each))
            const result = await catalog.commit({
              when: when.map((each) => ({
                key: each.key,
                revision: each.fresh ? (model.get(each.key)?.revision ?? 0) : 1,
              })),
              put: puts.map((each) => ({ key: each, value: bytesOf(`${count}`) })),
              remove: removed,
            })
            const holds = when.every((each) => each.fresh || model.get(each.key)?.revision === 1)
            expect(result.ok).toBe(holds)
            if (!holds) continue
            for (const each of puts) model.set(each, { value: `${count}`, revision: result.revision })
            for (const each of removed) model.delete(each)
          }
          const listed = (await catalog.list('')).map(({ key, value, revision }) => [
            key,
            { value: textOf(value), revision },
          ])
          expect(listed).toEqual([...model].sort(([left], [right]) => (left < right ? -1 : 1)))
        }),
        { numRuns: 25 },
      )
    })
  })
}

function nameOf({ key, value, revision }: CatalogChange): string {
  return value ? `${key}=${textOf(value)}@${revision}` : `${key} gone@${revision}`
}
