/**
 * The damage rule: whatever byte of a device goes bad, and whenever, a read is right, or says `corrupt`, `missing` or
 * that the copy is gone. It is never wrong, and the node always comes up.
 */
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { Bitset } from '../../src/base/bitset.ts'
import { isZero } from '../../src/base/bytes.ts'
import { codeOf } from '../../src/base/errors.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { ExtentStore } from '../../src/extent-store/extent-store.ts'
import type { BlockDevice } from '../../src/platform/types.ts'
import { fill, isRight, memoryDevice, NODE, openStore, STREAM, storedOf } from './harness.ts'

const SIZE = 24 * MiB
const AREA = 64 * KiB + 2 * MiB
const SLOTS = 24
const EGROUPS = [1, 2, 3, 4]
const CHUNK = 64 * KiB

let image: Uint8Array
/** Offsets of the chunks of the image that are not all zeros. */
let usedChunks: number[]

/** Egroup 1 is open, 2 sealed, 3 compacted, 4 partial; 5 was dropped, and its bytes still lie there. */
beforeAll(async () => {
  const device = memoryDevice(SIZE)
  const store = await openStore(device)
  for (const egroup of [1, 2, 3, 5]) {
    const writer = await fill(
      store,
      egroup,
      Array.from({ length: SLOTS / 3 }, () => [2, 1, 3]),
    )
    if (egroup > 1) await store.seal(egroup, 1, writer.offset)
  }
  const live = new Bitset()
  for (let slot = 0; slot < SLOTS; slot += 4) live.set(slot)
  await store.compact(3, live)
  for (let slot = 0; slot < SLOTS; slot += 2) await store.keepPartial(4, STREAM, [storedOf(4, slot, 2)])
  await store.dropCopy(5)
  await store.close()
  image = new Uint8Array(SIZE)
  await device.read(0, image)
  usedChunks = Array.from({ length: SIZE / CHUNK }, (_, i) => i * CHUNK).filter(
    (at) => !isZero(image, at, CHUNK),
  )
})

async function deviceOfImage(): Promise<BlockDevice> {
  const device = memoryDevice(SIZE)
  for (const at of usedChunks) await device.write(at, image.subarray(at, at + CHUNK))
  return device
}

async function flip(device: BlockDevice, at: number, bits: number): Promise<void> {
  const byte = new Uint8Array(1)
  await device.read(at, byte)
  await device.write(at, Uint8Array.of(byte[0]! ^ bits))
}

/** Reads everything; throws when anything is wrong. Tells how many slots were right. */
async function readAll(store: ExtentStore): Promise<number> {
  let right = 0
  for (const egroup of EGROUPS) {
    if (store.info(egroup) === undefined) continue
    const slots = Array.from({ length: SLOTS }, (_, slot) => slot)
    for (const read of await store.readSlots(egroup, slots)) {
      if (read.status !== 'ok') continue
      expect(isRight(egroup, read)).toBe(true)
      right++
    }
  }
  return right
}

const RIGHT_WHEN_WHOLE = 24 + 24 + 6 + 12

/** Offsets weighted towards what matters; free space is most of the device. */
const anyOffset = fc.oneof(
  { weight: 1, arbitrary: fc.nat(8 * KiB - 1) },
  { weight: 2, arbitrary: fc.nat(8 * KiB).map((at) => 64 * KiB + at) },
  { weight: 1, arbitrary: fc.nat(2 * MiB - 1).map((at) => 64 * KiB + at) },
  { weight: 4, arbitrary: fc.nat(300 * KiB).map((at) => AREA + at) },
  { weight: 4, arbitrary: fc.nat(5 * MiB).map((at) => AREA + 4 * MiB + at) },
  { weight: 1, arbitrary: fc.nat(SIZE - 1) },
)
const anyBits = fc.integer({ min: 1, max: 255 })

describe('a byte goes bad', () => {
  test('nothing is bad: everything is right', async () => {
    expect(await readAll(await openStore(await deviceOfImage()))).toBe(RIGHT_WHEN_WHOLE)
  })

  test('while the store is closed', async () => {
    await fc.assert(
      fc.asyncProperty(anyOffset, anyBits, async (at, bits) => {
        const device = await deviceOfImage()
        await flip(device, at, bits)
        const failed: string[] = []
        const store = await ExtentStore.open({
          node: NODE,
          devices: [device],
          onDeviceFailed: (id) => failed.push(id),
        })
        const right = await readAll(store)
        expect(store.usage()[0]!.failed).toBe(failed.length > 0)
        if (at < 8 * KiB) expect(right).toBe(RIGHT_WHEN_WHOLE)
        for (const { egroup } of store.copies()) {
          const report = await store.scrub(egroup)
          if (report.damaged || report.corruptSlots.length > 0)
            expect(right).toBeLessThanOrEqual(RIGHT_WHEN_WHOLE)
        }
        expect(await readAll(store)).toBeGreaterThanOrEqual(right)
      }),
      { numRuns: 120 },
    )
  })

  test('while the store is open, and then at the next start', async () => {
    await fc.assert(
      fc.asyncProperty(anyOffset, anyBits, fc.boolean(), async (at, bits, readBefore) => {
        const device = await deviceOfImage()
        const store = await openStore(device)
        if (readBefore) expect(await readAll(store)).toBe(RIGHT_WHEN_WHOLE)
        await flip(device, at, bits)
        await readAll(store)
        await store.close()
        await readAll(await openStore(device))
      }),
      { numRuns: 80 },
    )
  })

  test('a scrub finds every damaged slot of a sealed copy, and repair makes it whole', async () => {
    const device = await deviceOfImage()
    const store = await openStore(device)
    const { length } = store.info(2)!
    const log = await store.readLog(2, 0, length)
    const start = Buffer.from(image.buffer).indexOf(log.subarray(0, 64), AREA)
    await fc.assert(
      fc.asyncProperty(fc.nat(length - 1), anyBits, async (at, bits) => {
        await flip(device, start + at, bits)
        const report = await store.scrub(2)
        const bad = (
          await store.readSlots(
            2,
            Array.from({ length: SLOTS }, (_, slot) => slot),
          )
        ).filter((read) => read.status !== 'ok')
        expect(bad.map((read) => read.slot)).toEqual(report.corruptSlots)
        for (const slot of report.corruptSlots)
          await store.repairSlot(2, storedOf(2, slot, [2, 1, 3][slot % 3]!))
        if (report.damaged || report.corruptSlots.length === 0) await flip(device, start + at, bits)
        expect(await store.scrub(2)).toEqual({ checkedBytes: length, corruptSlots: [], damaged: false })
      }),
      { numRuns: 60 },
    )
  })
})

describe('a device is not ours', () => {
  test.each([
    ['of another node', { node: 'node-2', id: 'node-1.ssd0', size: SIZE }],
    ['another device of the node', { node: NODE, id: 'node-1.ssd1', size: SIZE }],
    ['shorter than it was', { node: NODE, id: 'node-1.ssd0', size: SIZE - MiB }],
  ])('%s: out of service, the bytes stay, the other device works', async (_, { node, id, size }) => {
    const device = memoryDevice(size, 'ssd', id)
    await device.write(0, image.subarray(0, size))
    const errors: Array<string | undefined> = []
    const store = await ExtentStore.open({
      node,
      devices: [device, memoryDevice(SIZE, 'hdd')],
      onDeviceFailed: (_failed, error) => errors.push(codeOf(error)),
    })
    expect(errors).toEqual(['DEVICE_CORRUPT'])
    expect(store.usage().map((usage) => usage.failed)).toEqual([true, false])
    await fill(store, 9, [[1]])
    expect(store.info(9)!.tier).toBe('hdd')
    const now = new Uint8Array(size)
    await device.read(0, now)
    expect(Buffer.compare(now, image.subarray(0, size))).toBe(0)
    await store.reformatDevice(id)
    await fill(store, 10, [[1]])
    expect(store.info(10)!.tier).toBe('ssd')
  })
})
