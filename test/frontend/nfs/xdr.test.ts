/** XDR: what is written is read again, and nothing makes the reader look where it must not. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeHandle, encodeHandle, HANDLE_BYTES } from '../../../src/frontend/nfs/handle.ts'
import { RecordParser, SMALL_RECORD_BYTES } from '../../../src/frontend/nfs/rpc/record-parser.ts'
import { XdrError, XdrReader, XdrWriter } from '../../../src/frontend/nfs/rpc/xdr.ts'
import { NfsError } from '../../../src/frontend/nfs/status.ts'
import { BufferPool, HEADROOM_BYTES } from '../../../src/frontend/socket/buffer-pool.ts'
import { fragments } from './raw-client.ts'

type Item =
  | { kind: 'u32'; value: number }
  | { kind: 'u64'; value: number }
  | { kind: 'bool'; value: boolean }
  | { kind: 'opaque' | 'fixed'; value: Uint8Array }

const u53 = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const item: fc.Arbitrary<Item> = fc.oneof(
  fc.record({ kind: fc.constant('u32' as const), value: fc.integer({ min: 0, max: 0xffff_ffff }) }),
  fc.record({ kind: fc.constant('u64' as const), value: u53 }),
  fc.record({ kind: fc.constant('bool' as const), value: fc.boolean() }),
  fc.record({
    kind: fc.constantFrom('opaque' as const, 'fixed' as const),
    value: fc.uint8Array({ maxLength: 70 }),
  }),
)

function write(items: readonly Item[]): Buffer {
  const out = new XdrWriter()
  for (const one of items) {
    if (one.kind === 'u32') out.u32(one.value)
    else if (one.kind === 'u64') out.u64(one.value)
    else if (one.kind === 'bool') out.bool(one.value)
    else out[one.kind](one.value)
  }
  return Buffer.from(out.view())
}

describe('XDR', () => {
  it('reads what was written, in units of four bytes', () => {
    fc.assert(
      fc.property(fc.array(item, { maxLength: 40 }), (items) => {
        const bytes = write(items)
        expect(bytes.length % 4).toBe(0)
        const from = new XdrReader(bytes)
        for (const one of items) {
          if (one.kind === 'u32') expect(from.u32()).toBe(one.value)
          else if (one.kind === 'u64') expect(from.u64()).toBe(one.value)
          else if (one.kind === 'bool') expect(from.bool()).toBe(one.value)
          else {
            const value = one.kind === 'opaque' ? from.opaque(100) : from.fixed(one.value.length)
            expect(Buffer.from(one.value).equals(value)).toBe(true)
          }
        }
        from.end()
      }),
    )
  })

  it('reads as RFC 4506 draws it', () => {
    const bytes = write([
      { kind: 'u32', value: 1 },
      { kind: 'u64', value: 2 ** 40 + 5 },
      { kind: 'opaque', value: Buffer.from('sixth!') },
    ])
    expect(bytes.toString('hex')).toBe(`00000001${'0000010000000005'}00000006${'736978746821'}0000`)
  })

  it('never reads beyond its end, whatever the bytes say', () => {
    const step = fc.constantFrom('u32', 'u64', 'bool', 'opaque', 'fixed', 'enumeration')
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.array(step, { maxLength: 20 }), (bytes, steps) => {
        const all = Buffer.concat([bytes, Buffer.alloc(64)])
        const from = new XdrReader(all, 0, bytes.length)
        try {
          for (const one of steps) {
            if (one === 'opaque') from.opaque(0xffff_ffff)
            else if (one === 'fixed') from.fixed(7)
            else if (one === 'enumeration') from.enumeration(3)
            else from[one as 'u32' | 'u64' | 'bool']()
            expect(from.at).toBeLessThanOrEqual(bytes.length)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(XdrError)
        }
      }),
    )
  })

  it('refuses a boolean that is none, a value that there is not, and what is too long', () => {
    const reader = (...words: number[]): XdrReader =>
      new XdrReader(write(words.map((value) => ({ kind: 'u32', value }))))
    expect(() => reader(2).bool()).toThrow(XdrError)
    expect(() => reader(3).enumeration(3)).toThrow(XdrError)
    expect(() => reader(5, 0, 0).opaque(4)).toThrow(XdrError)
    expect(() => reader(0xffff_ffff, 0).opaque(0xffff_ffff)).toThrow(XdrError)
    expect(() => reader(1).end()).toThrow(XdrError)
    // Five bytes, but not their padding.
    expect(() => new XdrReader(Buffer.from([0, 0, 0, 5, 1, 2, 3, 4, 5])).opaque(9)).toThrow(XdrError)
  })
})

describe('handles', () => {
  it('are what they were made of', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffff_ffff }),
        fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
        u53,
        (container, file, birth) => {
          const bytes = encodeHandle(container, file, birth)
          expect(bytes.length).toBe(HANDLE_BYTES)
          expect(decodeHandle(bytes)).toEqual({ container, file, birth })
        },
      ),
    )
  })

  it('or BADHANDLE, for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          const { container, file, birth } = decodeHandle(Buffer.from(bytes))
          expect(encodeHandle(container, file, birth).equals(bytes)).toBe(true)
        } catch (error) {
          expect(error).toBeInstanceOf(NfsError)
        }
      }),
    )
  })
})

describe('records', () => {
  it('come out as they went in, whatever the fragments and chunks, and however often the sink waits', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 3 * SMALL_RECORD_BYTES }), {
      minLength: 1,
      maxLength: 8,
    })
    const fragmentBytes = fc.integer({ min: 40, max: 30_000 })
    const chunkBytes = fc.integer({ min: 1, max: 20_000 })
    fc.assert(
      fc.property(sizes, fragmentBytes, chunkBytes, fc.nat(3), (lengths, fragment, chunk, waits) => {
        const records = lengths.map((length, i) => Buffer.alloc(length, i + 1))
        const stream = Buffer.concat(records.map((record) => fragments(record, fragment)))
        const pool = new BufferPool(0)
        const received: Buffer[] = []
        let left = waits
        // Says no `waits` times before each yes.
        const ready = (): boolean => {
          left -= 1
          if (left >= 0) return false
          left = waits
          return true
        }
        const parser = new RecordParser(
          {
            admit: (bytes) => {
              expect(bytes).toBeGreaterThan(SMALL_RECORD_BYTES)
              return ready()
            },
            record: (bytes, pooled) => {
              if (bytes.length <= SMALL_RECORD_BYTES && !ready()) return false
              if (pooled !== undefined) expect(bytes.byteOffset - pooled.byteOffset).toBe(HEADROOM_BYTES)
              received.push(Buffer.from(bytes))
              return true
            },
          },
          pool,
          1 << 20,
        )
        for (let at = 0; at < stream.length; at += chunk) {
          let all = parser.push(Buffer.from(stream.subarray(at, at + chunk)))
          while (!all) all = parser.resume()
        }
        expect(received.length).toBe(records.length)
        for (const [i, record] of records.entries()) expect(received[i]!.equals(record)).toBe(true)
        expect(parser.owed).toBe(false)
      }),
      { numRuns: 60 },
    )
  })
})
