/** Guards: what a writer wrote a reader reads, no reader reads past its end, compares are exact at any alignment. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ByteReader, ByteWriter, isZero, sameBytes } from '../../src/base/bytes.ts'
import { codeOf } from '../../src/base/errors.ts'

const U53_MAX = Number.MAX_SAFE_INTEGER

const field = fc.oneof(
  fc.record({ kind: fc.constant('u8' as const), value: fc.nat(0xff) }),
  fc.record({ kind: fc.constant('u16' as const), value: fc.nat(0xffff) }),
  fc.record({ kind: fc.constant('u32' as const), value: fc.integer({ min: 0, max: 0xffff_ffff }) }),
  fc.record({ kind: fc.constant('u48' as const), value: fc.integer({ min: 0, max: 2 ** 48 - 1 }) }),
  fc.record({ kind: fc.constant('u53' as const), value: fc.integer({ min: 0, max: U53_MAX }) }),
  fc.record({ kind: fc.constant('f64' as const), value: fc.double() }),
  fc.record({ kind: fc.constant('string' as const), value: fc.string({ unit: 'binary' }) }),
  fc.record({ kind: fc.constant('blob' as const), value: fc.uint8Array({ maxLength: 400 }) }),
)
type Field = typeof field extends fc.Arbitrary<infer T> ? T : never

function write(writer: ByteWriter, item: Field): void {
  if (item.kind === 'string') writer.string(item.value)
  else if (item.kind === 'blob') writer.blob(item.value)
  else writer[item.kind](item.value)
}

function protocolError(work: () => unknown): boolean {
  try {
    work()
    return false
  } catch (error) {
    if (codeOf(error) !== 'PROTOCOL_ERROR') throw error
    return true
  }
}

describe('ByteWriter and ByteReader', () => {
  it('carry any fields, and nothing but them', () => {
    fc.assert(
      fc.property(fc.array(field), (fields) => {
        const writer = new ByteWriter()
        for (const item of fields) write(writer, item)
        const reader = new ByteReader(writer.toBytes())
        for (const item of fields) expect(reader[item.kind]()).toEqual(item.value)
        reader.end()
      }),
    )
  })

  it('refuse a message that was cut anywhere', () => {
    fc.assert(
      fc.property(fc.array(field, { minLength: 1, maxLength: 5 }), fc.nat(), (fields, where) => {
        const writer = new ByteWriter(1)
        for (const item of fields) write(writer, item)
        const cut = writer.toBytes().subarray(0, where % writer.length)
        const reader = new ByteReader(cut)
        expect(protocolError(() => fields.forEach((item) => void reader[item.kind]()))).toBe(true)
      }),
    )
  })

  it('are little endian, with the documented widths', () => {
    const writer = new ByteWriter().u8(1).u16(0x0203).u32(0x04050607).u48(0x08090a0b0c0d).u53(0x0102030405060)
    expect(Buffer.from(writer.view()).toString('hex')).toBe(
      ['01', '0302', '07060504', '0d0c0b0a0908', '6050403020100000'].join(''),
    )
    expect(writer.length).toBe(21)
  })

  it('pad, patch and start over', () => {
    const writer = new ByteWriter(4).u32(0).bytes(Buffer.alloc(40, 9)).padTo(512).padTo(512)
    expect(writer.length).toBe(512)
    writer.patchU32(0, 77)
    expect(new ByteReader(writer.view()).u32()).toBe(77)
    expect(isZero(writer.view(), 44, 468)).toBe(true)
    expect(() => writer.patchU32(509, 1)).toThrow(RangeError)
    // Old bytes must not shine through the padding of the next message.
    writer.reset().bytes(Buffer.alloc(300, 9)).reset().u8(5).padTo(512)
    expect(isZero(writer.view(), 1, 511)).toBe(true)
  })

  it('refuse numbers, counts, texts and ends that cannot be', () => {
    expect(protocolError(() => new ByteReader(Buffer.alloc(8, 0xff)).u53())).toBe(true)
    const counted = new ByteWriter().u32(1000).bytes(Buffer.alloc(7999)).toBytes()
    expect(protocolError(() => new ByteReader(counted).count(8))).toBe(true)
    expect(new ByteReader(counted).count(7)).toBe(1000)
    expect(protocolError(() => new ByteReader(Buffer.from([2, 0, 0xc3, 0x28])).string())).toBe(true)
    expect(protocolError(() => new ByteReader(Buffer.alloc(1)).end())).toBe(true)
    expect(protocolError(() => new ByteReader(Buffer.alloc(9)).bytes(-1))).toBe(true)
    expect(protocolError(() => new ByteReader(Buffer.alloc(9)).skip(Number.NaN))).toBe(true)
    expect(() => new ByteWriter().string('x'.repeat(65_536))).toThrow('65,535')
    for (const value of [-1, 2 ** 53, 0.5, Number.NaN]) {
      for (const kind of ['u8', 'u16', 'u32', 'u48', 'u53'] as const) {
        expect(() => new ByteWriter()[kind](value)).toThrow('fits its field')
      }
    }
  })

  it('stay inside the part of a buffer they were given', () => {
    const reader = new ByteReader(Buffer.from([1, 2, 3, 4, 5, 6]), 2, 3)
    expect([reader.u8(), reader.offset, reader.remaining]).toEqual([3, 3, 2])
    expect(protocolError(() => reader.u32())).toBe(true)
    expect(reader.u16()).toBe(0x0504)
  })
})

describe('isZero and sameBytes', () => {
  it('see one changed byte anywhere, at any alignment and length', () => {
    fc.assert(
      fc.property(
        fc.nat(9),
        fc.nat(9),
        fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 32_700, max: 70_000 })),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (aOffset, bOffset, length, where, value) => {
          const a = new Uint8Array(aOffset + length + 3)
          const b = Buffer.alloc(bOffset + length + 3)
          a.fill(1, 0, aOffset).fill(1, aOffset + length)
          b.fill(2, 0, bOffset).fill(2, bOffset + length)
          expect(isZero(a, aOffset, length)).toBe(true)
          expect(sameBytes(a, aOffset, b, bOffset, length)).toBe(true)
          a[aOffset + (where % length)] = value
          expect(isZero(a, aOffset, length)).toBe(false)
          expect(sameBytes(a, aOffset, b, bOffset, length)).toBe(false)
          b[bOffset + (where % length)] = value
          expect(sameBytes(a, aOffset, b, bOffset, length)).toBe(true)
        },
      ),
    )
  })

  it('hold for an empty range', () => {
    expect(isZero(new Uint8Array([1]), 1, 0)).toBe(true)
    expect(sameBytes(new Uint8Array([1]), 1, new Uint8Array([2]), 0, 0)).toBe(true)
  })
})
