/** What a device's errors do: to the operation, to the device, and never to the node. */
import { expect, test } from 'vitest'
import { codeOf } from '../../src/base/errors.ts'
import { MiB } from '../../src/base/units.ts'
import { ExtentStore } from '../../src/extent-store/extent-store.ts'
import { ChaosDevice } from '../../src/platform/faults/chaos-device.ts'
import { FaultDevice } from '../../src/platform/faults/fault-device.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { WallClock } from '../../src/platform/real/wall-clock.ts'
import { allSlots, fill, isRight, memoryDevice, NODE } from './harness.ts'

const clock = new WallClock()

async function setUp() {
  const device = new FaultDevice(memoryDevice(), clock)
  const failed: string[] = []
  const store = await ExtentStore.open({
    node: NODE,
    devices: [device, memoryDevice(32 * MiB, 'hdd')],
    onDeviceFailed: (id, error) => failed.push(`${id} ${codeOf(error)}`),
  })
  const writer = await fill(store, 4, [[1, 2], [3]])
  return { device, store, writer, failed }
}

test('a failed read is a corrupt slot; the next read is right', async () => {
  const { device, store, writer, failed } = await setUp()
  device.failNextReads(1)
  expect((await store.readSlots(4, allSlots(writer))).map((read) => read.status)).toEqual(
    Array(3).fill('corrupt'),
  )
  expect((await store.readSlots(4, allSlots(writer))).every((read) => isRight(4, read))).toBe(true)
  expect(failed).toEqual([])
})

test('a failed write fails that append only: the same offset can be tried again', async () => {
  const { device, store, writer, failed } = await setUp()
  device.failNextWrites(1)
  await expect(writer.append(store, [5], { sync: false })).rejects.toMatchObject({ code: 'DEVICE_FAILED' })
  expect(store.info(4)!.length).toBe(writer.offset)
  await writer.append(store, [5])
  expect((await store.readSlots(4, allSlots(writer))).every((read) => isRight(4, read))).toBe(true)
  expect(failed).toEqual([])
})

test('a full device fails that append only, also a durable one', async () => {
  const inner = memoryDevice()
  const device = new ChaosDevice(inner, clock, seededRandom(1))
  const failed: string[] = []
  const onDeviceFailed = (id: string): unknown => failed.push(id)
  const store = await ExtentStore.open({ node: NODE, devices: [device], onDeviceFailed })
  const writer = await fill(store, 4, [[1, 2]])
  device.settings.full = true
  await expect(writer.append(store, [5])).rejects.toMatchObject({ code: 'DEVICE_FULL' })
  device.settings.full = false
  await writer.append(store, [5])
  expect((await store.readSlots(4, allSlots(writer))).every((read) => isRight(4, read))).toBe(true)
  expect(failed).toEqual([])
})

test.each([
  'a durable write',
  'a sync',
])('%s that fails takes the device out of service: told once, copies gone, others serve', async (what) => {
  const { device, store, writer, failed } = await setUp()
  // Behind a frame that is not durable, a durable append is a write and a sync.
  if (what === 'a sync') await writer.append(store, [4], { sync: false })
  device.failNextSyncs(1)
  await expect(writer.append(store, [5])).rejects.toMatchObject({ code: 'DEVICE_FAILED' })
  expect(failed).toEqual([`${device.id} DEVICE_FAILED`])
  await expect(store.readSlots(4, [0])).rejects.toMatchObject({ code: 'COPY_MISSING' })
  expect(store.copies()).toEqual([])
  expect(store.usage()[0]).toMatchObject({ failed: true, usedBytes: 0 })
  await fill(store, 5, [[1]])
  expect(store.info(5)!.tier).toBe('hdd')
  expect(failed.length).toBe(1)
})

test('a device that was declared failed can be formatted and used again; one in service cannot', async () => {
  const { device, store, failed } = await setUp()
  await expect(store.reformatDevice(device.id)).rejects.toMatchObject({ code: 'UNSAFE' })
  await expect(store.reformatDevice('nothing')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  store.failDevice(device.id)
  store.failDevice(device.id)
  expect(failed).toEqual([`${device.id} DEVICE_FAILED`])
  await store.reformatDevice(device.id)
  expect(store.usage()[0]).toMatchObject({ failed: false, usedBytes: 0 })
  const writer = await fill(store, 6, [[8, 8]])
  expect(store.info(6)!.device).toBe(device.id)
  expect((await store.readSlots(6, allSlots(writer))).every((read) => isRight(6, read))).toBe(true)
})

test('a device that is dead when the node starts is told, and the node starts', async () => {
  const device = new FaultDevice(memoryDevice(), clock)
  device.failNow()
  const failed: string[] = []
  const store = await ExtentStore.open({
    node: NODE,
    devices: [device],
    onDeviceFailed: (id) => failed.push(id),
  })
  expect(failed).toEqual([device.id])
  await expect(store.createCopy({ egroup: 1, stream: 1, generation: 1, tier: 'ssd' })).rejects.toMatchObject({
    code: 'NO_SPACE',
  })
  await expect(store.reformatDevice(device.id)).rejects.toMatchObject({ code: 'DEVICE_FAILED' })
  await store.close()
})
