/**
 * Guards: the halves are those of xxHash64 (known vectors), for every way of calling, for every length; what is said of
 * a block is the same whether it is asked alone or among many. For both implementations.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import xxhash from 'xxhash-wasm'
import {
  type DataPath,
  hashOut,
  INSPECT_BLOCKS_MAX,
  INSPECT_HIGH,
  INSPECT_LOW,
  INSPECT_WORDS,
  INSPECT_ZERO,
} from '../../src/base/data-path.ts'
import { codeOf } from '../../src/base/errors.ts'
import { hash64, hashMatches } from '../../src/base/hash.ts'
import { BLOCK_BYTES } from '../../src/base/units.ts'
import { DATA_PATHS } from './data-paths.ts'

function hexOf(path: DataPath, bytes: Uint8Array, offset = 0, length = bytes.length - offset): string {
  path.hash64(bytes, offset, length)
  return [...hashOut].map((half) => half.toString(16).padStart(8, '0')).join('')
}

describe.each(DATA_PATHS)('hash64 of the %s', (_name, path) => {
  const hex = (bytes: Uint8Array, offset?: number, length?: number) => hexOf(path, bytes, offset, length)

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
    for (const length of [64 * 1024, 64 * 1024 + 31, 256 * 1024, 256 * 1024 + 1, bytes.length - 5]) {
      const expected = api
        .h64Raw(bytes.subarray(5, 5 + length))
        .toString(16)
        .padStart(16, '0')
      expect(hex(bytes, 5, length)).toBe(expected)
    }
  })

  it('agrees with xxhash-wasm on every length up to 4 KiB and a bit, and on many up to 64 KiB', async () => {
    const api = await xxhash()
    const bytes = new Uint8Array(64 * 1024)
    for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 2_654_435_761) >>> 11
    for (let length = 0; length <= bytes.length; length += length < 4200 ? 1 : 97) {
      const expected = api.h64Raw(bytes.subarray(0, length)).toString(16).padStart(16, '0')
      if (hex(bytes, 0, length) !== expected) expect.fail(`${length} bytes hash to ${hex(bytes, 0, length)}`)
    }
  })

  it('refuses a range outside the buffer', () => {
    for (const [offset, length] of [
      [4, 7],
      [-1, 4],
      [0, 11],
    ] as const) {
      let code: string | undefined
      try {
        path.hash64(new Uint8Array(10), offset, length)
      } catch (error) {
        code = codeOf(error)
      }
      expect(code).toBe('INTERNAL')
    }
  })
})

describe.each(DATA_PATHS)('inspectBlocks of the %s', (_name, path) => {
  it('says of every block what it would say of it alone', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constant(-1), fc.nat(BLOCK_BYTES - 1)), { minLength: 1, maxLength: 40 }),
        fc.nat(9),
        (marks, offset) => {
          const bytes = new Uint8Array(offset + marks.length * BLOCK_BYTES).fill(1, 0, offset)
          marks.forEach((mark, i) => {
            if (mark >= 0) bytes[offset + i * BLOCK_BYTES + mark] = 1 + (mark & 127)
          })
          const words = path.inspectBlocks(bytes, offset, marks.length).slice()
          marks.forEach((mark, i) => {
            const at = i * INSPECT_WORDS
            expect(words[at + INSPECT_ZERO]).toBe(mark < 0 ? 1 : 0)
            if (mark < 0) return
            path.hash64(bytes, offset + i * BLOCK_BYTES, BLOCK_BYTES)
            expect([words[at + INSPECT_HIGH], words[at + INSPECT_LOW]]).toEqual([...hashOut])
          })
        },
      ),
      { numRuns: 40 },
    )
  })

  it('takes a MiB at once, and no more', () => {
    const bytes = new Uint8Array((INSPECT_BLOCKS_MAX + 1) * BLOCK_BYTES)
    bytes[INSPECT_BLOCKS_MAX * BLOCK_BYTES - 1] = 1
    const words = path.inspectBlocks(bytes, 0, INSPECT_BLOCKS_MAX)
    expect(words[(INSPECT_BLOCKS_MAX - 2) * INSPECT_WORDS + INSPECT_ZERO]).toBe(1)
    expect(words[(INSPECT_BLOCKS_MAX - 1) * INSPECT_WORDS + INSPECT_ZERO]).toBe(0)
    expect(() => path.inspectBlocks(bytes, 0, INSPECT_BLOCKS_MAX + 1)).toThrow('256 blocks')
    expect(() => path.inspectBlocks(bytes, 0, 0)).toThrow('256 blocks')
  })
})

describe('hashMatches', () => {
  it('matches only the same halves', () => {
    const bytes = Buffer.from('hither')
    hash64(bytes, 0, 6)
    const [high, low] = [hashOut[0]!, hashOut[1]!]
    expect(hashMatches(bytes, 0, 6, high, low)).toBe(true)
    expect(hashMatches(bytes, 0, 6, low, high)).toBe(false)
    expect(hashMatches(bytes, 0, 5, high, low)).toBe(false)
  })
})
