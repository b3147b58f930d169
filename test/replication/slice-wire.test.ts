/** What travels is what was sent; a body that is not what it says is refused, whatever is in it. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { SliceRead } from '../../src/extent-store/types.ts'
import {
  decodeSliceReads,
  decodeSlotSummaries,
  encodeSliceReads,
  encodeSlotSummaries,
} from '../../src/replication/slice-wire.ts'

const u32 = fc.nat(0xffff_ffff)

test('lists of slots', () => {
  const summary = fc.record({ slot: u32, storedBytes: u32, kind: u32 })
  fc.assert(
    fc.property(fc.array(summary), (slots) => {
      expect(decodeSlotSummaries(encodeSlotSummaries(slots))).toEqual(slots)
    }),
  )
  expect(() => decodeSlotSummaries(new Uint8Array(13))).toThrow(/shorter/)
})

test('slices, and what is missing or corrupt among them', () => {
  const slice = fc.record({
    slot: u32,
    codec: u32,
    kind: u32,
    rawBytes: u32,
    checksumHi: u32,
    checksumLo: u32,
    bytes: fc.uint8Array({ maxLength: 64 }),
  })
  const read: fc.Arbitrary<SliceRead> = fc.oneof(
    slice.map((each) => ({ status: 'ok' as const, slice: each })),
    u32.map((slot) => ({ status: 'missing' as const, slot })),
    u32.map((slot) => ({ status: 'corrupt' as const, slot })),
  )
  fc.assert(
    fc.property(fc.array(read), fc.nat(), (reads, cut) => {
      const body = Uint8Array.from(Buffer.concat(encodeSliceReads(reads)))
      expect(decodeSliceReads(body, reads.length)).toEqual(reads)
      const shorter = body.subarray(0, cut % (body.length + 1))
      if (shorter.length < body.length)
        expect(() => decodeSliceReads(shorter, reads.length)).toThrow(/shorter/)
    }),
  )
})
