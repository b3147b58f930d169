import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RegionTable } from '../../src/locality/readahead/region-table.ts'
import { RunSurvival } from '../../src/locality/readahead/run-survival.ts'
import { StreamTable } from '../../src/locality/readahead/stream-table.ts'

describe('RunSurvival', () => {
  it('learns the length at which runs end, and does not expect them past it', () => {
    const curve = new RunSurvival()
    for (let run = 0; run < 200; run++) {
      curve.grow(0, 16)
      curve.grow(16, 48)
      curve.end(48)
    }
    expect(curve.expectedAhead(16, 0.9, 1_000)).toBe(32)
    expect(curve.expectedAhead(48, 0.5, 1_000)).toBe(0)
  })

  it('expects nothing of single reads where reads stay single', () => {
    const curve = new RunSurvival()
    for (let run = 0; run < 200; run++) {
      curve.grow(0, 16)
      curve.end(16)
    }
    expect(curve.expectedAhead(16, 0.6, 64)).toBe(0)
  })

  it('before it has learned, expects a run about to double', () => {
    const ahead = new RunSurvival().expectedAhead(32, 0.6, 1_000)
    expect(ahead).toBeGreaterThanOrEqual(28)
    expect(ahead).toBeLessThanOrEqual(40)
  })

  it('forgets old habits', () => {
    const curve = new RunSurvival()
    const single = () => {
      curve.grow(0, 16)
      curve.end(16)
    }
    const long = () => {
      curve.grow(0, 512)
      curve.end(512)
    }
    for (let run = 0; run < 20_000; run++) single()
    expect(curve.expectedAhead(16, 0.6, 64)).toBe(0)
    for (let run = 0; run < 20_000; run++) long()
    expect(curve.expectedAhead(16, 0.6, 64)).toBe(64)
  })

  // Bounds that every caller relies on, for any history.
  it('answers between nothing and what was asked for, less when surer', () => {
    const run = fc.tuple(fc.integer({ min: 1, max: 200_000 }), fc.integer({ min: 0, max: 5_000 }))
    fc.assert(
      fc.property(
        fc.array(run, { maxLength: 50 }),
        fc.integer({ min: 1, max: 500_000 }),
        fc.integer({ min: 0, max: 1024 }),
        (runs, length, most) => {
          const curve = new RunSurvival()
          for (const [first, more] of runs) {
            curve.grow(0, first)
            curve.grow(first, first + more)
            curve.end(first + more)
          }
          const bold = curve.expectedAhead(length, 0.5, most)
          const shy = curve.expectedAhead(length, 0.95, most)
          expect(shy).toBeGreaterThanOrEqual(0)
          expect(bold).toBeGreaterThanOrEqual(shy)
          expect(bold).toBeLessThanOrEqual(most)
        },
      ),
    )
  })
})

describe('StreamTable', () => {
  it('finds the stream that a walk over all of them finds, the newest of several', () => {
    const read = fc.record({ start: fc.nat(400), count: fc.integer({ min: 1, max: 9 }) })
    fc.assert(
      fc.property(fc.array(read, { maxLength: 300 }), fc.constantFrom(0, 2 ** 33), (reads, base) => {
        const streams = new StreamTable(new RunSurvival())
        /** Ends of the 64 that were used last, the newest last. */
        const ends: number[] = []
        for (const { start, count } of reads) {
          const at = base + start * 3
          const found = ends.findLastIndex((end) => at - end >= -1 && at - end <= 4)
          const stream = streams.read(at, count, false, 0)
          expect(streams.continues).toBe(found >= 0)
          const before = found < 0 ? at : ends.splice(found, 1)[0]!
          if (ends.length === 64) ends.shift()
          ends.push(Math.max(before, at + count))
          expect(streams.next(stream)).toBe(ends.at(-1))
        }
      }),
    )
  })

  it('follows many streams read in turns', () => {
    const streams = new StreamTable(new RunSurvival())
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 64; i++) {
        const stream = streams.read(i * 100_000 + round * 16, 16, false, round)
        expect(streams.continues).toBe(round > 0)
        expect(streams.length(stream)).toBe((round + 1) * 16)
      }
    }
  })

  it('takes a shared block and a small gap for the same stream, and a jump for another', () => {
    const streams = new StreamTable(new RunSurvival())
    const first = streams.read(1_000, 17, false, 0)
    expect(streams.read(1_016, 17, false, 1)).toBe(first)
    expect(streams.length(first)).toBe(33)
    expect(streams.read(1_036, 17, false, 2)).toBe(first)
    expect(streams.read(1_100, 17, false, 3)).not.toBe(first)
    expect(streams.continues).toBe(false)
  })

  it('sees a smaller read as the end of a file, but not one that only shares a block less', () => {
    const streams = new StreamTable(new RunSurvival())
    streams.read(0, 17, false, 0)
    streams.read(17, 16, false, 1)
    expect(streams.shrunk).toBe(false)
    streams.read(33, 5, false, 2)
    expect(streams.shrunk).toBe(true)
  })

  it('widens the window of a reader that had to wait, to what a wire holds and no further', () => {
    const streams = new StreamTable(new RunSurvival())
    const stream = streams.read(0, 1, false, 0)
    expect(streams.window(stream)).toBe(1)
    for (let block = 1; block < 40; block++) streams.read(block, 1, true, block)
    expect(streams.window(stream)).toBe(64)
  })

  it('counts a paused stream as ended, and takes that back when it goes on', () => {
    const survival = new RunSurvival()
    const streams = new StreamTable(survival)
    for (let i = 0; i < 60; i++) streams.read(i * 10_000, 16, false, 0)
    streams.read(5_000_000, 16, false, 10_000)
    expect(survival.expectedAhead(16, 0.6, 16)).toBe(0)
    for (let i = 0; i < 60; i++) streams.read(i * 10_000 + 16, 16, false, 10_001)
    expect(survival.expectedAhead(16, 0.6, 16)).toBe(16)
  })
})

describe('RegionTable', () => {
  it('asks for a region at its third scattered read, once', () => {
    const regions = new RegionTable()
    expect([regions.touch(9), regions.touch(9), regions.touch(9), regions.touch(9)]).toEqual([
      false,
      false,
      true,
      false,
    ])
  })

  // Promise: wrong guesses cost at most the first budget; right ones earn more.
  it('stops when nothing it fetched is read, and goes on when it is', () => {
    const regions = new RegionTable()
    const ask = (region: number): boolean => {
      regions.touch(region)
      regions.touch(region)
      const asked = regions.touch(region)
      if (asked) regions.noteFetched(region, 64)
      return asked
    }
    let asked = 0
    for (let region = 0; region < 200; region += 2) if (ask(region)) asked++
    expect(asked).toBe(4)
    regions.noteUse(0, 64, 64)
    expect(ask(1_000)).toBe(true)
  })

  it('counts a block that was asked for once, however often it is read', () => {
    const regions = new RegionTable()
    for (let read = 0; read < 3; read++) regions.touch(0)
    regions.noteFetched(0, 256)
    for (let read = 0; read < 50; read++) regions.noteUse(0, 2, 2)
    // Unread 254 blocks of a budget of 192 + 4 × 2: no more guesses.
    for (let read = 0; read < 5; read++) expect(regions.touch(1)).toBe(false)
  })
})
