/**
 * Guards: a candidate is always the newest place that was told for its fingerprint, or nothing; what was found dead
 * never comes back; memory stays in its budget; what is hit again and again stays.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CandidateIndex } from '../../src/dedupe/candidate-index.ts'

const SEGMENT_BYTES = 96 * 1024
const REF_MAX = 65_535 * 8 + 7

/** Spreads small numbers over 32 bits, as a hash does. */
function mix(value: number): number {
  let hash = Math.imul(value ^ (value >>> 16), 0x85eb_ca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** Few fingerprints, with equal high halves and equal buckets among them. */
const fingerprint = fc.record({
  hi: fc.oneof(
    fc.nat(3).map((n) => n * 1024),
    fc.nat(5).map(mix),
  ),
  lo: fc.nat(3).map((n) => mix(n) | (n << 30)),
})
const place = fc.record({
  egroup: fc.integer({ min: 1, max: 20 }),
  ref: fc.integer({ min: 0, max: REF_MAX }),
})
const step = fc.oneof(
  fc.record({
    kind: fc.constantFrom('insert' as const, 'insertRemote' as const, 'remove' as const),
    fingerprint,
    place,
  }),
  fc.record({ kind: fc.constant('removeRight' as const), fingerprint }),
  fc.record({ kind: fc.constant('forget' as const), below: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ kind: fc.constant('watermark' as const), egroup: fc.integer({ min: 1, max: 20 }) }),
)

describe('CandidateIndex', () => {
  it('agrees with a Map, as long as no bucket overflows', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const index = new CandidateIndex(SEGMENT_BYTES)
        const model = new Map<string, { hi: number; lo: number; egroup: number; ref: number }>()
        let watermark = 0
        for (const action of steps) {
          if (action.kind === 'forget') {
            const dead = [...model].filter(([, entry]) => entry.egroup < action.below)
            expect(index.forget((egroup) => egroup < action.below)).toBe(dead.length)
            for (const [key] of dead) model.delete(key)
          } else if (action.kind === 'watermark') {
            index.setWatermark(action.egroup)
            watermark = Math.max(watermark, action.egroup)
          } else {
            const { hi, lo: signedLo } = action.fingerprint
            const lo = signedLo >>> 0
            const key = `${hi} ${lo}`
            const known = model.get(key)
            if (action.kind === 'removeRight') {
              if (known === undefined) continue
              expect(index.remove(hi, lo, known.egroup, known.ref)).toBe(true)
              model.delete(key)
            } else if (action.kind === 'remove') {
              const same = known?.egroup === action.place.egroup && known.ref === action.place.ref
              expect(index.remove(hi, lo, action.place.egroup, action.place.ref)).toBe(same)
              if (same) model.delete(key)
            } else if (action.kind === 'insert') {
              if (
                known === undefined &&
                [...model.values()].filter((e) => (e.hi & 1023) === (hi & 1023)).length === 8
              )
                continue
              index.insert(hi, lo, action.place.egroup, action.place.ref)
              model.set(key, { hi, lo, ...action.place })
            } else {
              if ([...model.values()].filter((e) => (e.hi & 1023) === (hi & 1023)).length === 8) continue
              const taken = known === undefined && action.place.egroup >= watermark
              expect(index.insertRemote(hi, lo, action.place.egroup, action.place.ref)).toBe(taken)
              if (taken) model.set(key, { hi, lo, ...action.place })
            }
          }
          expect(index.count).toBe(model.size)
          for (const { hi, lo, egroup, ref } of model.values()) {
            expect(index.lookup(hi, lo)).toBe(true)
            expect([index.egroup, index.ref]).toEqual([egroup, ref])
          }
        }
      }),
      { numRuns: 300 },
    )
  })

  it('grows in steps and keeps nearly everything until its budget is reached', () => {
    const index = new CandidateIndex(100 * SEGMENT_BYTES)
    const told = 5 * 8192
    for (let n = 0; n < told; n++) index.insert(mix(n), mix(n + 1e6), 1 + (n >>> 8), n & REF_MAX)
    expect(index.segments).toBeLessThanOrEqual(Math.ceil((5 * 8) / 3))
    let found = 0
    for (let n = 0; n < told; n++) {
      if (!index.lookup(mix(n), mix(n + 1e6))) continue
      found++
      if (index.egroup !== 1 + (n >>> 8) || index.ref !== (n & REF_MAX))
        expect.unreachable(`wrong place for ${n}`)
    }
    expect(found).toBe(index.count)
    expect(found).toBeGreaterThan(told * 0.97)
  })

  it('never exceeds its budget, and fills it', () => {
    const index = new CandidateIndex(4.9 * SEGMENT_BYTES)
    for (let n = 0; n < 20 * 8192; n++) index.insert(mix(n), mix(n + 1e6), 1 + (n >>> 8), 0)
    expect(index.sizeBytes).toBe(4 * SEGMENT_BYTES)
    expect(index.sizeBytes / index.count).toBeLessThan(12.5)
  })

  it('keeps what is hit while other data passes by, and the newer of what is not', () => {
    const index = new CandidateIndex(SEGMENT_BYTES)
    for (let n = 0; n < 1000; n++) index.insert(mix(n), 1, 1, n)
    for (let n = 1000; n < 40_000; n++) {
      index.insert(mix(n), 1, 2 + (n >>> 8), 0)
      if (n % 4 === 0) index.lookup(mix(n % 1000), 1)
    }
    const kept = (from: number, to: number) => {
      let count = 0
      for (let n = from; n < to; n++) if (index.lookup(mix(n), 1)) count++
      return count / (to - from)
    }
    // Only every fourth of the first thousand was ever looked up.
    expect(kept(0, 1000)).toBeGreaterThan(0.23)
    expect(kept(2000, 20_000)).toBeLessThan(0.05)
    expect(kept(36_000, 40_000)).toBeGreaterThan(0.9)
  })

  it('lets no late news bring back what a sweep has found dead', () => {
    const index = new CandidateIndex(SEGMENT_BYTES)
    index.insert(1, 2, 7, 3)
    index.setWatermark(10)
    expect(index.forget((egroup) => egroup === 7)).toBe(1)
    expect(index.insertRemote(1, 2, 7, 3)).toBe(false)
    expect(index.lookup(1, 2)).toBe(false)
    index.setWatermark(5)
    expect(index.watermark).toBe(10)
    expect(index.insertRemote(1, 2, 10, 3)).toBe(true)
  })

  it('misses nothing in a sweep segment by segment while inserts make it grow', () => {
    const index = new CandidateIndex(64 * SEGMENT_BYTES)
    for (let n = 0; n < 30_000; n++) index.insert(mix(n), 9, n % 2 === 0 ? 1 : 2, 0)
    let next = 1e6
    for (let segment = 0; segment < index.segments; segment++) {
      index.forgetInSegment(segment, (egroup) => egroup === 1)
      for (let n = 0; n < 9000 && index.segments < 40; n++) index.insert(mix(next++), 9, 3, 0)
    }
    expect(index.segments).toBe(40)
    expect(index.forget((egroup) => egroup === 1)).toBe(0)
  })

  it('refuses places that no slice has', () => {
    const index = new CandidateIndex(0)
    expect(() => index.insert(1, 1, 0, 0)).toThrow('block of a slice')
    expect(() => index.insert(1, 1, 1, 2 ** 19)).toThrow('block of a slice')
  })
})
