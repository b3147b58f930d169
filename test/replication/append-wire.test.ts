/** Appends on the wire. Guards: what comes out is what went in, and a message that is no append is refused, not guessed at. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeAppend, encodeAppend } from '../../src/replication/append-wire.ts'

const u32 = fc.nat({ max: 0xffff_ffff })

test('an append comes out as it went in', () => {
  fc.assert(
    fc.property(
      fc.record({ egroup: u32, generation: u32, offset: u32, sync: fc.boolean() }),
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 3 }),
      (place, parts) => {
        const { parts: decoded, ...rest } = decodeAppend(Buffer.concat(encodeAppend({ ...place, parts })))
        expect(rest).toEqual(place)
        expect(Buffer.concat(decoded)).toEqual(Buffer.concat(parts))
      },
    ),
  )
})

test('a message without a whole head, or with flags of another version, is PROTOCOL_ERROR', () => {
  const whole = Buffer.concat(encodeAppend({ egroup: 1, generation: 2, offset: 3, sync: true, parts: [] }))
  for (let length = 0; length < whole.length; length++) {
    expect(() => decodeAppend(whole.subarray(0, length))).toThrow(
      expect.objectContaining({ code: 'PROTOCOL_ERROR' }),
    )
  }
  whole.writeUInt32LE(2, 12)
  expect(() => decodeAppend(whole)).toThrow(expect.objectContaining({ code: 'PROTOCOL_ERROR' }))
})
