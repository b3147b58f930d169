/** Guards: the halves are those of xxHash64 (known vectors), for every way of calling, for every length. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import xxhash from 'xxhash-wasm'
import { hash64, hashMatches, hashOut } from '../../src/base/hash.ts'

function hex(bytes: Uint8Array, offset = 0, length = bytes.length - offset): string {
  hash64(bytes, offset, length)
  return [...hashOut].map((half) => half.toString(16).padStart(8, '0')).join('')
}

describe('hash64', () => {
  it('gives the published values of xxHash64 with seed 0', () => {
    expect(hex(new Uint8Array(0))).toBe('ef46db3751d8e999')
    expect(hex(Buffer.from('a'))).toBe('d24ec4f1a98c6e5b')
    expect(hex(Buffer.from('abc'))).toBe('44bc2cf5ad770999')
  })

  it('hashes a part of a buffer as the same bytes alone', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(16), fc.nat(16), (bytes, before, after) => {
        const padded = Buffer.concat([Buffer.alloc(before, 1), bytes, Buffer.alloc(after, 2)])
        expect(hex(padded, before, bytes.length)).toBe(hex(bytes))
      }),
    )
  })

  it('streams what is longer than one call, with the same result', async () => {
    const api = await xxhash()
    const bytes = new Uint8Array(2_000_003)
    for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 2_654_435_761) >>> 13
    for (const length of [256 * 1024, 256 * 1024 + 1, 512 * 1024, bytes.length - 5]) {
      const expected = api
        .h64Raw(bytes.subarray(5, 5 + length))
        .toString(16)
        .padStart(16, '0')
      expect(hex(bytes, 5, length)).toBe(expected)
    }
  })

  it('refuses a range outside the buffer', () => {
    expect(() => hash64(new Uint8Array(10), 4, 7)).toThrow(RangeError)
    expect(() => hash64(new Uint8Array(10), -1, 4)).toThrow(RangeError)
  })

  it('matches only the same halves', () => {
    const bytes = Buffer.from('hither')
    hash64(bytes, 0, 6)
    const [high, low] = [hashOut[0]!, hashOut[1]!]
    expect(hashMatches(bytes, 0, 6, high, low)).toBe(true)
    expect(hashMatches(bytes, 0, 6, low, high)).toBe(false)
    expect(hashMatches(bytes, 0, 5, high, low)).toBe(false)
  })
})
