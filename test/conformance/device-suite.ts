/**
 * What every `BlockDevice` promises. Each implementation, and each decorator in its idle state, runs this:
 * `runDeviceTests('name', setup)`.
 */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { codeOf } from '../../src/base/errors.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import type { BlockDevice } from '../../src/platform/types.ts'

export interface DeviceUnderTest {
  /** At least 4 MiB, blank. */
  readonly device: BlockDevice
  /** Opens the same medium again, after `device.close()`; absent for media that end with their device. */
  reopen?(): Promise<BlockDevice>
  /** Loses the power of the medium and opens it again; absent for media that cannot. What comes through is by chance. */
  powerLoss?(): Promise<BlockDevice>
  cleanup?(): Promise<void>
}

export function runDeviceTests(name: string, setup: () => Promise<DeviceUnderTest>): void {
  describe(`BlockDevice: ${name}`, () => {
    let under: DeviceUnderTest
    let device: BlockDevice

    beforeEach(async () => {
      under = await setup()
      device = under.device
    })
    afterEach(async () => {
      await device.close()
      await under.cleanup?.()
    })

    const read = async (offset: number, length: number): Promise<Uint8Array> => {
      const target = new Uint8Array(length).fill(0xee)
      await device.read(offset, target)
      return target
    }

    it('has an id, a tier, and whole sectors', () => {
      expect(device.id).not.toBe('')
      expect(['ssd', 'hdd']).toContain(device.tier)
      expect(device.size).toBeGreaterThanOrEqual(4 * MiB)
      expect(device.sectorSize % 512).toBe(0)
    })

    it('reads zeros where nothing was written, up to its last byte', async () => {
      expectBytes(await read(0, 8 * KiB), new Uint8Array(8 * KiB))
      expectBytes(await read(device.size - 5000, 5000), new Uint8Array(5000))
    })

    it('returns what was written, at its first and its last byte too', async () => {
      const first = pattern(4 * KiB, 1)
      const last = pattern(777, 2)
      await device.write(0, first)
      await device.write(device.size - 777, last)
      expectBytes(await read(0, 4 * KiB), first)
      expectBytes(await read(device.size - 777, 777), last)
    })

    it('writes parts one after the other, also more than one writev takes', async () => {
      const whole = pattern(3000 * 7, 3)
      const parts = Array.from({ length: 3000 }, (_, index) => whole.subarray(index * 7, index * 7 + 7))
      await device.write(1 * MiB - 100, parts)
      expectBytes(await read(1 * MiB - 100, whole.length), whole)
    })

    it('takes empty writes, empty parts and empty reads', async () => {
      await device.write(10, new Uint8Array(0))
      await device.write(10, [])
      await device.write(10, [new Uint8Array(0), pattern(3, 4), new Uint8Array(0)])
      expectBytes(await read(10, 3), pattern(3, 4))
      await device.writeDurably(10, new Uint8Array(0))
      await device.writeDurably(device.size, [])
      await device.writeDurably(10, [new Uint8Array(0), pattern(3, 5), new Uint8Array(0)])
      expectBytes(await read(10, 3), pattern(3, 5))
      await device.read(device.size, new Uint8Array(0))
    })

    it('fills a view into a larger buffer and nothing beside it', async () => {
      await device.write(512, pattern(100, 5))
      const buffer = new Uint8Array(300).fill(0xaa)
      await device.read(512, buffer.subarray(100, 200))
      expectBytes(buffer.subarray(0, 100), new Uint8Array(100).fill(0xaa))
      expectBytes(buffer.subarray(100, 200), pattern(100, 5))
      expectBytes(buffer.subarray(200), new Uint8Array(100).fill(0xaa))
    })

    it('keeps its content apart from the buffers of its callers', async () => {
      const source = pattern(1024, 6)
      await device.write(0, source)
      source.fill(0)
      const target = await read(0, 1024)
      target.fill(0)
      expectBytes(await read(0, 1024), pattern(1024, 6))
    })

    it.each([
      ['before the start', -512, 512],
      ['past the end', 4 * 1024 * MiB * 1024, 512],
      ['at a fraction of a byte', 0.5, 512],
      ['at no number', Number.NaN, 512],
    ])('refuses a range %s with OUT_OF_RANGE', async (_, offset, length) => {
      const bytes = new Uint8Array(length)
      expect(await codeOfFailure(device.read(offset, bytes))).toBe('OUT_OF_RANGE')
      expect(await codeOfFailure(device.write(offset, bytes))).toBe('OUT_OF_RANGE')
      expect(await codeOfFailure(device.writeDurably(offset, bytes))).toBe('OUT_OF_RANGE')
      expect(await codeOfFailure(device.trim(offset, length))).toBe('OUT_OF_RANGE')
    })

    it('refuses a range over the end whole', async () => {
      expect(await codeOfFailure(device.write(device.size - 100, pattern(101, 7)))).toBe('OUT_OF_RANGE')
      expectBytes(await read(device.size - 100, 100), new Uint8Array(100))
    })

    it('serves many overlapping calls at once', async () => {
      const writes = Array.from({ length: 64 }, (_, index) =>
        device.write(index * 4096, pattern(4096, index)).then(() => device.sync()),
      )
      await Promise.all(writes)
      const reads = await Promise.all(Array.from({ length: 64 }, (_, index) => read(index * 4096, 4096)))
      for (const [index, bytes] of reads.entries()) expectBytes(bytes, pattern(4096, index))
    })

    it('serves many durable writes at once, beside other writes and syncs', async () => {
      const bytes = Array.from({ length: 32 }, (_, index) => pattern(2000, index))
      await Promise.all(
        bytes.flatMap((each, index) => [
          device.writeDurably(index * 4000, [each.subarray(0, 700), each.subarray(700)]),
          device.write(index * 4000 + 2000, each),
          device.sync(),
        ]),
      )
      for (const [index, each] of bytes.entries()) {
        expectBytes(await read(index * 4000, 4000), Buffer.concat([each, each]))
      }
    })

    it('loses no durable write with its power', async () => {
      if (!under.powerLoss) return
      for (let loss = 0; loss < 12; loss++) {
        const bytes = pattern(1500, loss)
        // Aligned and not, over bytes that are not durable and beside them, alone and not.
        const offset = loss % 3 === 0 ? 4096 : 1000 + loss
        if (loss % 2 === 0) await device.write(offset - 1000, pattern(3000, 100))
        await Promise.all([
          device.writeDurably(offset, bytes),
          loss > 5 ? device.writeDurably(64 * KiB, bytes) : undefined,
        ])
        if (loss % 4 === 0) await device.write(16 * KiB, pattern(512, loss))
        device = await under.powerLoss()
        expectBytes(await read(offset, 1500), bytes)
        if (loss > 5) expectBytes(await read(64 * KiB, 1500), bytes)
      }
    })

    it('may lose what was written before and after a durable write, also over it', async () => {
      if (!under.powerLoss) return
      const [zeros, one, two] = [0, 1, 2].map((value) => new Uint8Array(512).fill(value))
      let [lostBefore, lostAfter, lostOver] = [false, false, false]
      for (let loss = 0; loss < 40; loss++) {
        const at = loss * 4096
        await device.write(at, one!)
        await device.writeDurably(at + 512, one!)
        await device.write(at + 1024, one!)
        await device.write(at + 512, two!)
        device = await under.powerLoss()
        lostBefore ||= Buffer.compare(await read(at, 512), zeros!) === 0
        lostAfter ||= Buffer.compare(await read(at + 1024, 512), zeros!) === 0
        lostOver ||= Buffer.compare(await read(at + 512, 512), one!) === 0
      }
      expect([lostBefore, lostAfter, lostOver]).toEqual([true, true, true])
    })

    it('may tear a durable write that is under way when the power goes, and rejects it', async () => {
      if (!under.powerLoss) return
      const seen = new Set<number>()
      for (let loss = 0; loss < 20; loss++) {
        await device.writeDurably(0, new Uint8Array(8 * 512).fill(1))
        const write = codeOfFailure(device.writeDurably(0, new Uint8Array(8 * 512).fill(2)))
        device = await under.powerLoss()
        expect(await write).toBe('DEVICE_FAILED')
        for (const byte of await read(0, 8 * 512)) seen.add(byte)
      }
      expect([...seen].sort()).toEqual([1, 2])
    })

    it('trims: the range reads as zeros or as before, its neighbours as before', async () => {
      const before = pattern(3 * MiB, 8)
      await device.write(0, before)
      await device.trim(1000, 2 * MiB)
      const after = await read(0, 3 * MiB)
      for (let at = 0; at < after.length; at++) {
        const inside = at >= 1000 && at < 1000 + 2 * MiB
        if (after[at] !== before[at] && !(inside && after[at] === 0)) {
          expect.fail(`byte ${at} is ${after[at]}, was ${before[at]}`)
        }
      }
      await device.write(5000, pattern(100, 9))
      expectBytes(await read(5000, 100), pattern(100, 9))
    })

    it('rejects everything with DEVICE_FAILED after close, and closes twice', async () => {
      await device.close()
      await device.close()
      const bytes = new Uint8Array(512)
      expect(await codeOfFailure(device.read(0, bytes))).toBe('DEVICE_FAILED')
      expect(await codeOfFailure(device.write(0, bytes))).toBe('DEVICE_FAILED')
      expect(await codeOfFailure(device.writeDurably(0, bytes))).toBe('DEVICE_FAILED')
      expect(await codeOfFailure(device.sync())).toBe('DEVICE_FAILED')
      expect(await codeOfFailure(device.trim(0, 512))).toBe('DEVICE_FAILED')
    })

    it('keeps what was synced, or written durably, over close and open', async () => {
      if (!under.reopen) return
      await device.write(12_345, pattern(10_000, 10))
      await device.sync()
      await device.writeDurably(30_000, pattern(3000, 11))
      const { id, size } = device
      await device.close()
      device = await under.reopen()
      expect([device.id, device.size]).toEqual([id, size])
      expectBytes(await read(12_345, 10_000), pattern(10_000, 10))
      expectBytes(await read(30_000, 3000), pattern(3000, 11))
    })

    it('equals an array of bytes under any sequence of writes, reads, syncs and trims', async () => {
      const span = 64 * KiB
      const step = fc.record({
        kind: fc.constantFrom('write', 'write', 'durable', 'read', 'sync', 'clear'),
        offset: fc.oneof(
          fc.nat(span - 1),
          fc.nat(span / 512 - 1).map((sector) => sector * 512),
        ),
        length: fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.constantFrom(512, 1024, 4096)),
        seed: fc.nat(255),
      })
      const base = 1 * MiB - span / 2
      const model = new Uint8Array(span)
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
          for (const { kind, offset, length: wanted, seed } of steps) {
            const length = Math.min(wanted, span - offset)
            if (kind === 'sync') {
              await device.sync()
            } else if (kind === 'read') {
              expectBytes(await read(base + offset, length), model.slice(offset, offset + length))
            } else {
              // A trimmed range is undefined until written, so the model writes it.
              if (kind === 'clear') await device.trim(base + offset, length)
              const bytes = pattern(length, seed)
              const parts = [bytes.subarray(0, length >> 1), bytes.subarray(length >> 1)]
              if (kind === 'durable') await device.writeDurably(base + offset, parts)
              else await device.write(base + offset, parts)
              model.set(bytes, offset)
            }
          }
          expectBytes(await read(base, span), model)
        }),
        { numRuns: 30 },
      )
    })
  })
}

/** `toEqual` for long arrays takes seconds. */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  if (Buffer.compare(actual, expected) === 0) return
  const at = expected.findIndex((byte, index) => byte !== actual[index])
  expect.fail(`${actual.length} bytes for ${expected.length}, other from byte ${at} on`)
}

/** Bytes that differ by position and by seed, and are never 0. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at++) bytes[at] = 1 + ((at * 31 + (at >> 8) * 17 + seed * 101) % 255)
  return bytes
}

export function codeOfFailure(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error) => codeOf(error),
  )
}
