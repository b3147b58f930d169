import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hash64, hashOut } from '../../src/base/hash.ts'
import { SECTOR_BYTES } from '../../src/base/units.ts'
import {
  HEADER,
  HEADER_BYTES,
  packRef,
  RECORD_HOLE,
  RECORD_MAPPED,
} from '../../src/extent-store/frame-format.ts'
import { headBytesAt, parseFrame, parseHead, verifySlices } from '../../src/extent-store/frame-reader.ts'
import { FrameBuilder } from '../../src/extent-store/frame-writer.ts'
import { CODEC_LZ4, CODEC_RAW, KIND_DATA, KIND_PAGE } from '../../src/extent-store/types.ts'
import { buildFrame, rawOf, STREAM } from './harness.ts'

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

/** Puts the right checksum into a head that was changed: what a wrong writer would leave, not a wrong medium. */
function sealHead(bytes: Uint8Array): void {
  const headBytes = new DataView(bytes.buffer).getUint32(HEADER.payloadOffset, true)
  bytes.fill(0, HEADER.checksumLo, HEADER_BYTES)
  hash64(bytes, 0, Math.min(headBytes, bytes.length))
  const view = new DataView(bytes.buffer)
  view.setUint32(HEADER.checksumLo, hashOut[1]!, true)
  view.setUint32(HEADER.checksumHi, hashOut[0]!, true)
}

describe('frame', () => {
  test('reads back everything that was added, relative to its place', () => {
    const builder = new FrameBuilder()
    const incompressible = rawOf(1, 0, 2)
    const compressible = rawOf(1, 1, 8)
    builder.addSlice(incompressible, 0, incompressible.length, KIND_DATA, true)
    builder.addSlice(compressible, 0, compressible.length, KIND_PAGE, true)
    builder.addFingerprint(11, 22)
    builder.addFingerprint(0xffff_ffff, 0xffff_fffe)
    builder.addMapped(2 ** 33 + 5, 2, 0, packRef(0, 1))
    builder.addMapped(9, 8, 4711, packRef(65_000, 3))
    builder.addHole(2 ** 34 - 1, 1)
    expect(builder.frameBytes % SECTOR_BYTES).toBe(0)
    const parts = builder.seal({ egroup: 12, generation: 3, offset: 1024, baseSlot: 100, stream: STREAM })
    const bytes = joined(parts)
    expect(bytes.length).toBe(builder.frameBytes)
    const frame = parseFrame(bytes, 0)!
    expect(verifySlices(frame)).toBe(true)
    expect([frame.egroup, frame.generation, frame.offset, frame.stream]).toEqual([12, 3, 1024, STREAM])
    expect([frame.slot(0), frame.codec(0), frame.kind(0)]).toEqual([100, CODEC_RAW, KIND_DATA])
    expect([frame.slot(1), frame.codec(1), frame.kind(1)]).toEqual([101, CODEC_LZ4, KIND_PAGE])
    expect(frame.stored(0)).toEqual(incompressible)
    expect(frame.rawBytes(1)).toBe(compressible.length)
    expect([frame.fingerprintHi(0), frame.fingerprintLo(0)]).toEqual([11, 22])
    expect([frame.fingerprintHi(1), frame.fingerprintLo(1)]).toEqual([0xffff_ffff, 0xffff_fffe])
    const records = Array.from({ length: frame.recordCount }, (_, i) => [
      frame.recordType(i),
      frame.recordStart(i),
      frame.recordCountOf(i),
      frame.recordEgroup(i),
      frame.recordSlot(i),
      frame.recordSub(i),
    ])
    expect(records[0]).toEqual([RECORD_MAPPED, 2 ** 33 + 5, 2, 12, 100, 1])
    expect(records[1]).toEqual([RECORD_MAPPED, 9, 8, 4711, 65_000, 3])
    expect(records[2]!.slice(0, 4)).toEqual([RECORD_HOLE, 2 ** 34 - 1, 1, 0])
  })

  test('a long hole becomes records that cover it exactly', () => {
    const builder = new FrameBuilder()
    builder.addHole(7, 2 ** 25)
    const frame = parseFrame(
      joined(builder.seal({ egroup: 1, generation: 1, offset: 0, baseSlot: 0, stream: 1 })),
      0,
    )!
    let next = 7
    for (let i = 0; i < frame.recordCount; i++) {
      expect(frame.recordStart(i)).toBe(next)
      next += frame.recordCountOf(i)
    }
    expect(next).toBe(7 + 2 ** 25)
  })

  test('the same builder can be sealed again for another egroup', () => {
    const builder = new FrameBuilder()
    buildFrame(builder, { egroup: 1, offset: 4096, baseSlot: 40 }, [1, 2])
    const again = joined(builder.seal({ egroup: 2, generation: 5, offset: 0, baseSlot: 0, stream: STREAM }))
    const frame = parseFrame(again, 0)!
    expect(verifySlices(frame)).toBe(true)
    expect([frame.egroup, frame.generation, frame.slot(1)]).toEqual([2, 5, 1])
    expect([frame.recordEgroup(1), frame.recordSlot(1)]).toEqual([2, 1])
  })

  test('a flipped byte is found, unless it is padding', () => {
    const bytes = joined(buildFrame(new FrameBuilder(), { egroup: 9, offset: 0, baseSlot: 0 }, [1, 2, 1]))
    const whole = parseFrame(bytes, 0)!
    const paddingAt = whole.payloadOffset + whole.payloadBytes
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, bits) => {
        bytes[at]! ^= bits
        const frame = parseFrame(bytes, 0)
        const valid = frame !== undefined && verifySlices(frame)
        bytes[at]! ^= bits
        expect(valid).toBe(at >= paddingAt)
      }),
      { numRuns: 400 },
    )
    expect(verifySlices(parseFrame(bytes, 0)!)).toBe(true)
  })

  test('a head that lies is refused, even under a right checksum, without reading outside the bytes', () => {
    const good = joined(buildFrame(new FrameBuilder(), { egroup: 9, offset: 0, baseSlot: 0 }, [1, 2, 1]))
    const u32 = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0, 1, 0xffff_ffff, 0x7fff_ffff, 512, 65_535))
    fc.assert(
      fc.property(fc.nat(64 + 3 * 24 - 1), u32, (at, value) => {
        const bytes = good.slice()
        new DataView(bytes.buffer).setUint32(at - (at % 4), value, true)
        sealHead(bytes)
        const frame = parseFrame(bytes, 0)
        if (frame === undefined) return
        for (let i = 0; i < frame.slotCount; i++) {
          expect(frame.logOffset(i) - frame.offset + frame.storedBytes(i)).toBeLessThanOrEqual(bytes.length)
        }
        verifySlices(frame)
      }),
      { numRuns: 400 },
    )
  })

  test('an unknown record type is an error, not a record', () => {
    const builder = new FrameBuilder()
    builder.addHole(1, 1)
    const bytes = joined(builder.seal({ egroup: 1, generation: 1, offset: 0, baseSlot: 0, stream: 1 }))
    bytes[HEADER_BYTES] = 99
    sealHead(bytes)
    expect(() => parseFrame(bytes, 0)!.recordType(0)).toThrow(/type 99/)
  })

  test('the head alone is enough for tables; a cut head is no frame', () => {
    const bytes = joined(buildFrame(new FrameBuilder(), { egroup: 9, offset: 0, baseSlot: 0 }, [1, 2, 1]))
    const headBytes = headBytesAt(bytes, 0)
    expect(parseHead(bytes.subarray(0, headBytes), 0)?.slotCount).toBe(3)
    expect(parseHead(bytes.subarray(0, headBytes - 1), 0)).toBeUndefined()
    expect(parseFrame(bytes.subarray(0, bytes.length - 1), 0)).toBeUndefined()
  })

  test('parsing leaves the bytes alone, since they may be on their way to a device', () => {
    const bytes = joined(buildFrame(new FrameBuilder(), { egroup: 9, offset: 0, baseSlot: 0 }, [1]))
    Object.defineProperty(bytes, 'fill', {
      value: () => {
        throw new Error('changed')
      },
    })
    expect(parseFrame(bytes, 0)).toBeDefined()
  })

  test('builder keeps nothing of the frame before', () => {
    const builder = new FrameBuilder()
    buildFrame(builder, { egroup: 1, offset: 0, baseSlot: 0 }, [8, 8, 8])
    const reused = joined(buildFrame(builder, { egroup: 2, offset: 0, baseSlot: 0 }, [1]))
    const fresh = joined(buildFrame(new FrameBuilder(), { egroup: 2, offset: 0, baseSlot: 0 }, [1]))
    expect(Buffer.compare(reused, fresh)).toBe(0)
  })
})
