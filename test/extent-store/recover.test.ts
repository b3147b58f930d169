/** A table that says what cannot be, as a bug or damage that its checksums do not see might leave it. */
import { expect, test } from 'vitest'
import { MiB } from '../../src/base/units.ts'
import { type CopyEntry, CopyTable, decodeEntry, encodeEntry } from '../../src/extent-store/copy-table.ts'
import { layoutFor } from '../../src/extent-store/device-layout.ts'
import { KvLog } from '../../src/platform/kv-log.ts'
import type { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import { allSlots, fill, isRight, memoryDevice, openStore, STREAM, storedOf } from './harness.ts'

const ENTRY: CopyEntry = {
  egroup: 1,
  stream: STREAM,
  kind: 'full',
  state: 'sealed',
  generation: 1,
  length: 0,
  slotCount: 0,
  serial: 0,
  indexOffset: 0,
  indexBytes: 0,
  extents: [],
}

async function entryOf(device: MemoryDevice, egroup: number): Promise<CopyEntry> {
  const table = await CopyTable.open(device, layoutFor(device.size))
  const entry = table.entries().find((each) => each.egroup === egroup)!
  await table.close()
  return entry
}

async function put(device: MemoryDevice, ...entries: CopyEntry[]): Promise<void> {
  const table = await CopyTable.open(device, layoutFor(device.size))
  for (const entry of entries) await table.put(entry)
  await table.close()
}

test('of two copies that claim the same units, the newer stands; units outside the device are no copy', async () => {
  const device = memoryDevice()
  const store = await openStore(device)
  const writer = await fill(store, 4, [[1, 2, 3]])
  await store.seal(4, 1, writer.offset)
  await store.close()
  const real = await entryOf(device, 4)
  await put(
    device,
    { ...real, egroup: 1, serial: real.serial - 1 },
    { ...real, egroup: 7, serial: 0 },
    { ...ENTRY, egroup: 8, serial: 1000, extents: [{ start: 1_000_000, count: 1 }] },
    { ...ENTRY, egroup: 9, serial: 1001, length: 512 },
  )
  for (let round = 0; round < 2; round++) {
    const again = await openStore(device)
    expect(again.copies().map(({ egroup }) => egroup)).toEqual([4])
    expect((await again.readSlots(4, allSlots(writer))).every((read) => isRight(4, read))).toBe(true)
    expect(again.usage()[0]!.usedBytes).toBe(again.info(4)!.allocatedBytes)
    await again.close()
  }
  expect(await entryOf(device, 7)).toBeUndefined()
})

test('an entry that cannot be decoded is no copy, and does not stop the others', async () => {
  const device = memoryDevice()
  const store = await openStore(device)
  const writer = await fill(store, 4, [[1]])
  await store.close()
  const { tableOffset, tableBytes } = layoutFor(device.size)
  const log = await KvLog.open(device, { offset: tableOffset, length: tableBytes })
  const good = encodeEntry({ ...ENTRY, extents: [{ start: 0, count: 1 }] })
  for (let length = 0; length < good.length; length++) {
    expect(decodeEntry(good.subarray(0, length))).toBeUndefined()
  }
  await log.commit([{ key: 'copy/1', value: good.subarray(0, 20) }])
  await log.close()
  const again = await openStore(device)
  expect(again.copies().map(({ egroup }) => egroup)).toEqual([4])
  await writer.append(again, [2])
})

test('an egroup on two devices: full beats partial, then the newer; the other is gone for good', async () => {
  for (const [tier, other] of [
    ['ssd', 'hdd'],
    ['hdd', 'ssd'],
  ] as const) {
    const [ssd, hdd] = [memoryDevice(32 * MiB, 'ssd'), memoryDevice(32 * MiB, 'hdd')]
    const devices = { ssd, hdd }
    const store = await openStore(ssd, hdd)
    const writer = await fill(store, 4, [[1, 2, 3]], other)
    await store.seal(4, 1, writer.offset)
    await store.close()
    const before = await entryOf(devices[other], 4)
    const mover = await openStore(ssd, hdd)
    await mover.moveTier(4, tier)
    await mover.close()
    await put(devices[other], before)
    for (let round = 0; round < 2; round++) {
      const again = await openStore(ssd, hdd)
      expect(again.info(4)).toMatchObject({ tier, kind: 'full' })
      expect(again.copies().length).toBe(1)
      await again.close()
    }
    expect(await entryOf(devices[other], 4)).toBeUndefined()
  }

  const [ssd, hdd] = [memoryDevice(32 * MiB, 'ssd'), memoryDevice(32 * MiB, 'hdd')]
  const alone = await openStore(ssd)
  await alone.keepPartial(4, STREAM, [storedOf(4, 0, 1)])
  await alone.close()
  const below = await openStore(hdd)
  const writer = await fill(below, 4, [[1, 2, 3]])
  await below.seal(4, 1, writer.offset)
  await below.close()
  await put(ssd, { ...(await entryOf(ssd, 4)), serial: 1_000_000 })
  expect((await openStore(ssd, hdd)).info(4)).toMatchObject({ kind: 'full', tier: 'hdd' })
})
