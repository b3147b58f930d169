/**
 * Guards: what was compressed comes back, byte for byte; nothing is written outside the promised range; damage gives
 * an error or the promised number of bytes, never a crash, and never spoils the calls after it. For both
 * implementations, and each reads what the other wrote.
 */
import { createRequire } from 'node:module'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CODEC_RAW_BYTES_MAX, hashOut } from '../../src/base/data-path.ts'
import { codeOf } from '../../src/base/errors.ts'
import { SECTOR_BYTES } from '../../src/base/units.ts'
import { DATA_PATHS } from './data-paths.ts'

const lz4 = createRequire(import.meta.url)('lz4-wasm-nodejs') as {
  compress(input: Uint8Array): Uint8Array
  decompress(input: Uint8Array): Uint8Array
}

const GUARD = 0xa5
const STORED_MAX = CODEC_RAW_BYTES_MAX * 2

/** Bytes with repeats in them, so that matches of many lengths and distances occur. */
const compressible = fc
  .array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 24 }), fc.integer({ min: 1, max: 300 })), {
    minLength: 1,
    maxLength: 12,
  })
  .map((parts) =>
    Buffer.concat(parts.map(([bytes, times]) => Buffer.alloc(bytes.length * times, bytes))).subarray(
      0,
      CODEC_RAW_BYTES_MAX,
    ),
  )
const incompressible = fc.uint8Array({ minLength: 1, maxLength: 9000 })
const anyBlock = fc.oneof(compressible, incompressible)

/** `undefined`, or the code of what was thrown. */
function failure(work: () => void): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    return codeOf(error) ?? String(error)
  }
}

describe.each(DATA_PATHS)('LZ4 codec of the %s', (_name, path) => {
  const { compressInto, decompressed, decompressInto, packSlice, unpackSlice } = path

  function compress(raw: Uint8Array): Buffer {
    const target = Buffer.alloc(STORED_MAX)
    const bytes = compressInto(raw, 0, raw.length, target, 0, STORED_MAX)
    return target.subarray(0, bytes)
  }

  function decompress(stored: Uint8Array, rawBytes: number): Buffer {
    const target = Buffer.alloc(rawBytes)
    decompressInto(stored, 0, stored.length, target, 0, rawBytes)
    return target
  }

  it('round trips inside larger buffers and leaves the rest of them alone', () => {
    fc.assert(
      fc.property(anyBlock, fc.nat(20), fc.nat(20), (raw, sourceOffset, targetOffset) => {
        const source = Buffer.concat([Buffer.alloc(sourceOffset, 7), raw, Buffer.alloc(9, 8)])
        const stored = Buffer.alloc(STORED_MAX, GUARD)
        const bytes = compressInto(
          source,
          sourceOffset,
          raw.length,
          stored,
          targetOffset,
          STORED_MAX - targetOffset,
        )
        expect(bytes).toBeGreaterThan(0)
        expect(stored.subarray(0, targetOffset).every((byte) => byte === GUARD)).toBe(true)
        expect(stored.subarray(targetOffset + bytes).every((byte) => byte === GUARD)).toBe(true)

        const back = Buffer.alloc(raw.length + 40, GUARD)
        decompressInto(stored, targetOffset, bytes, back, 20, raw.length)
        expect(Buffer.compare(back.subarray(20, 20 + raw.length), raw)).toBe(0)
        expect(Buffer.compare(decompressed(stored, targetOffset, bytes, raw.length), raw)).toBe(0)
        expect(back.subarray(0, 20).every((byte) => byte === GUARD)).toBe(true)
        expect(back.subarray(20 + raw.length).every((byte) => byte === GUARD)).toBe(true)
      }),
    )
  })

  it('stores the block of the package without its size prefix, so other decoders can read it', () => {
    fc.assert(
      fc.property(anyBlock, (raw) => {
        const prefix = Buffer.alloc(4)
        prefix.writeUInt32LE(raw.length)
        const back = lz4.decompress(Buffer.concat([prefix, compress(raw)]))
        expect(Buffer.compare(back, raw)).toBe(0)
        expect(Buffer.compare(decompress(lz4.compress(raw).subarray(4), raw.length), raw)).toBe(0)
      }),
    )
  })

  it('answers 0 and writes nothing when the result would be too long', () => {
    const noise = Buffer.alloc(4096)
    for (let at = 0, state = 1; at < noise.length; at++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      noise[at] = state >>> 24
    }
    const target = Buffer.alloc(8192, GUARD)
    expect(compressInto(noise, 0, 4096, target, 0, 4096 - 512)).toBe(0)
    expect(target.every((byte) => byte === GUARD)).toBe(true)

    const text = Buffer.alloc(4096, 'keeps data where the VM that uses it runs; ')
    const exact = compress(text).length
    expect(compressInto(text, 0, 4096, target, 0, exact - 1)).toBe(0)
    expect(compressInto(text, 0, 4096, target, 0, exact)).toBe(exact)
    expect(compressInto(text, 0, 4096, target, target.length - exact + 1, exact)).toBe(0)
  })

  it('handles the longest slice', () => {
    for (const fill of [Buffer.alloc(CODEC_RAW_BYTES_MAX), Buffer.alloc(CODEC_RAW_BYTES_MAX, 'abcdefg')]) {
      expect(decompress(compress(fill), fill.length).equals(fill)).toBe(true)
    }
    expect(failure(() => compress(Buffer.alloc(CODEC_RAW_BYTES_MAX + 1)))).toBe('INTERNAL')
    expect(failure(() => compress(Buffer.alloc(0)))).toBe('INTERNAL')
  })

  it('turns damage into CHECKSUM_MISMATCH or the promised bytes, and works on afterwards', () => {
    const witness = Buffer.alloc(8192, 'a block that must survive the damage of others. ')
    const witnessStored = Buffer.from(compress(witness))
    const mutation = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(
        anyBlock,
        mutation,
        fc.integer({ min: -300, max: 300 }),
        fc.nat(40),
        (raw, hits, skew, cut) => {
          const stored = Buffer.from(compress(raw))
          for (const [where, value] of hits) stored[where % stored.length] = value
          const damaged = stored.subarray(0, Math.max(1, stored.length - cut))
          const rawBytes = Math.min(CODEC_RAW_BYTES_MAX, Math.max(1, raw.length + skew))
          const target = Buffer.alloc(rawBytes + 32, GUARD)
          const code = failure(() => decompressInto(damaged, 0, damaged.length, target, 16, rawBytes))
          expect([undefined, 'CHECKSUM_MISMATCH']).toContain(code)
          const promised = code === undefined ? rawBytes : 0
          expect(failure(() => decompressed(damaged, 0, damaged.length, rawBytes))).toBe(code)
          expect(target.subarray(0, 16).every((byte) => byte === GUARD)).toBe(true)
          expect(target.subarray(16 + promised).every((byte) => byte === GUARD)).toBe(true)
          expect(decompress(witnessStored, witness.length).equals(witness)).toBe(true)
          expect(compress(witness).equals(witnessStored)).toBe(true)
        },
      ),
      { numRuns: 400 },
    )
  })

  it('refuses sizes that no slice has, and a wrong raw length', () => {
    const raw = Buffer.alloc(4096, 'xyz')
    const stored = Buffer.from(compress(raw))
    for (const rawBytes of [0, -1, 4095, 4097, CODEC_RAW_BYTES_MAX + 1, Number.NaN]) {
      const target = Buffer.alloc(CODEC_RAW_BYTES_MAX * 2)
      expect(failure(() => decompressInto(stored, 0, stored.length, target, 0, rawBytes))).toBe(
        'CHECKSUM_MISMATCH',
      )
      expect(failure(() => decompressed(stored, 0, stored.length, rawBytes))).toBe('CHECKSUM_MISMATCH')
    }
    expect(failure(() => decompressed(stored, 1, stored.length, 4096))).toBe('INTERNAL')
    expect(failure(() => decompressInto(stored, 0, stored.length, Buffer.alloc(4095), 0, 4096))).toBe(
      'INTERNAL',
    )
    expect(failure(() => decompressInto(stored, 1, stored.length, Buffer.alloc(4096), 0, 4096))).toBe(
      'INTERNAL',
    )
    expect(failure(() => decompressInto(stored, 0, 0, Buffer.alloc(4096), 0, 4096))).toBe('CHECKSUM_MISMATCH')
  })

  it('packs a slice compressed only when that saves a sector, with the checksum of what is stored', () => {
    fc.assert(
      fc.property(anyBlock, fc.nat(20), fc.nat(20), (raw, sourceOffset, targetOffset) => {
        const source = Buffer.concat([Buffer.alloc(sourceOffset, 7), raw, Buffer.alloc(9, 8)])
        const target = Buffer.alloc(targetOffset + raw.length + 9, GUARD)
        const bytes = packSlice(source, sourceOffset, raw.length, target, targetOffset)
        const [hi, lo] = [hashOut[0]!, hashOut[1]!]
        path.hash64(target, targetOffset, bytes)
        expect([...hashOut]).toEqual([hi, lo])
        expect(target.subarray(0, targetOffset).every((byte) => byte === GUARD)).toBe(true)
        expect(target.subarray(targetOffset + bytes).every((byte) => byte === GUARD)).toBe(true)
        if (bytes === raw.length) {
          expect(Buffer.compare(target.subarray(targetOffset, targetOffset + bytes), raw)).toBe(0)
          return
        }
        expect(bytes).toBeLessThanOrEqual(raw.length - SECTOR_BYTES)
        const back = Buffer.alloc(raw.length + 40, GUARD)
        expect(unpackSlice(target, targetOffset, bytes, hi, lo, back, 20, raw.length)).toBe(true)
        expect(Buffer.compare(back.subarray(20, 20 + raw.length), raw)).toBe(0)
        expect(back.subarray(0, 20).every((byte) => byte === GUARD)).toBe(true)
        expect(back.subarray(20 + raw.length).every((byte) => byte === GUARD)).toBe(true)
      }),
    )
  })

  it('unpacks nothing whose checksum is another, and calls a wrong writer by name', () => {
    const raw = Buffer.alloc(4096, 'a slice and its checksum. ')
    const stored = Buffer.alloc(4096)
    const bytes = packSlice(raw, 0, raw.length, stored, 0)
    const [hi, lo] = [hashOut[0]!, hashOut[1]!]
    const target = Buffer.alloc(raw.length, GUARD)
    expect(unpackSlice(stored, 0, bytes, hi, lo ^ 1, target, 0, raw.length)).toBe(false)
    expect(unpackSlice(stored, 0, bytes, (hi ^ 0x8000_0000) >>> 0, lo, target, 0, raw.length)).toBe(false)
    stored[3]! ^= 4
    expect(unpackSlice(stored, 0, bytes, hi, lo, target, 0, raw.length)).toBe(false)
    stored[3]! ^= 4
    expect(failure(() => unpackSlice(stored, 0, bytes, hi, lo, target, 0, raw.length - 1))).toBe(
      'CHECKSUM_MISMATCH',
    )
    expect(target.every((byte) => byte === GUARD)).toBe(true)
    expect(unpackSlice(stored, 0, bytes, hi, lo, target, 0, raw.length)).toBe(true)
    expect(target.equals(raw)).toBe(true)
  })
})
