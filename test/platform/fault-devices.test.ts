/** The faults do what they say: what a crash may lose, and what it may not. */
import { beforeEach, describe, expect, it } from 'vitest'
import { CrashDevice } from '../../src/platform/faults/crash-device.ts'
import { FaultDevice } from '../../src/platform/faults/fault-device.ts'
import type { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { WallClock } from '../../src/platform/real/wall-clock.ts'
import { codeOfFailure, expectBytes, pattern } from '../conformance/device-suite.ts'
import { memoryDevice } from './setup.ts'

const SECTOR = 512

let medium: MemoryDevice

beforeEach(() => {
  medium = memoryDevice()
})

async function sectorsOf(count: number): Promise<number[]> {
  const bytes = new Uint8Array(count * SECTOR)
  await medium.read(0, bytes)
  return Array.from({ length: count }, (_, index) => {
    const sector = bytes.subarray(index * SECTOR, (index + 1) * SECTOR)
    expect(sector.every((byte) => byte === sector[0])).toBe(true)
    return sector[0]!
  })
}

describe('CrashDevice', () => {
  it('loses no synced write, and of the others any sectors, in any version', async () => {
    const seen = new Set<number>()
    for (let seed = 0; seed < 20; seed++) {
      medium = memoryDevice()
      const device = new CrashDevice(medium)
      await device.write(0, new Uint8Array(16 * SECTOR).fill(1))
      await device.sync()
      await device.write(8 * SECTOR, new Uint8Array(8 * SECTOR).fill(2))
      void device.write(8 * SECTOR, new Uint8Array(8 * SECTOR).fill(3)).catch(() => undefined)
      await device.crash(seededRandom(seed))
      const sectors = await sectorsOf(16)
      expect(sectors.slice(0, 8)).toEqual(new Array(8).fill(1))
      for (const sector of sectors.slice(8)) seen.add(sector)
    }
    expect([...seen].sort()).toEqual([1, 2, 3])
  })

  it('acknowledges nothing after the crash, nor what was under way', async () => {
    const device = new CrashDevice(medium)
    const write = codeOfFailure(device.write(0, new Uint8Array(SECTOR)))
    const sync = codeOfFailure(device.sync())
    const crash = device.crash(seededRandom(1))
    expect(await write).toBe('DEVICE_FAILED')
    expect(await sync).toBe('DEVICE_FAILED')
    await crash
    expect(await codeOfFailure(device.read(0, new Uint8Array(1)))).toBe('DEVICE_FAILED')
  })

  it('goes off in the middle of the operation it was told', async () => {
    const device = new CrashDevice(medium)
    device.powerOffAfter(2)
    await device.write(0, new Uint8Array(SECTOR).fill(1))
    await device.sync()
    expect(await codeOfFailure(device.write(SECTOR, new Uint8Array(SECTOR).fill(2)))).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(device.sync())).toBe('DEVICE_FAILED')
    // The last of the versions: what was under way comes through, too.
    await device.crash({ u32: () => 0, below: () => 0 })
    expect(await sectorsOf(2)).toEqual([1, 2])
  })

  it('keeps un-synced writes over a close, which is no crash', async () => {
    const device = new CrashDevice(medium)
    await device.write(100, pattern(1000, 1))
    await device.close()
    const target = new Uint8Array(1000)
    await medium.read(100, target)
    expectBytes(target, pattern(1000, 1))
  })

  it('joins unaligned writes that share a sector, with a sync between them or not', async () => {
    const device = new CrashDevice(medium)
    const whole = pattern(2000, 2)
    await Promise.all([
      device.write(0, whole.subarray(0, 700)),
      device.sync(),
      device.write(700, whole.subarray(700, 701)),
      device.write(701, whole.subarray(701)),
      device.sync(),
    ])
    await device.sync()
    await device.crash(seededRandom(1))
    const target = new Uint8Array(2000)
    await medium.read(0, target)
    expectBytes(target, whole)
  })
})

describe('FaultDevice', () => {
  let device: FaultDevice

  beforeEach(() => {
    device = new FaultDevice(medium, new WallClock())
  })

  it('fails the next reads, writes or syncs, and then works again', async () => {
    device.failNextReads(2)
    device.failNextWrites(1)
    device.failNextSyncs(1)
    const byte = new Uint8Array(1)
    expect(await codeOfFailure(device.read(0, byte))).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(device.read(0, byte))).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(device.write(0, Uint8Array.of(7)))).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(device.sync())).toBe('DEVICE_FAILED')
    await device.read(0, byte)
    expect(byte[0]).toBe(0)
    await device.write(0, Uint8Array.of(7))
    await device.sync()
  })

  it('is dead for good after failNow, for IO under way too', async () => {
    device.slowMs = 5
    const under = codeOfFailure(device.write(0, Uint8Array.of(7)))
    device.failNow()
    expect(await under).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(device.read(0, new Uint8Array(1)))).toBe('DEVICE_FAILED')
    const byte = new Uint8Array(1)
    await medium.read(0, byte)
    expect(byte[0]).toBe(0)
  })

  it('is as slow as told', async () => {
    device.slowMs = 20
    const start = performance.now()
    await device.sync()
    expect(performance.now() - start).toBeGreaterThanOrEqual(20)
  })

  it('rots the range it was told, and nothing beside it', async () => {
    const before = pattern(100, 3)
    await device.write(0, before)
    await device.corrupt(10, 5)
    const after = new Uint8Array(100)
    await device.read(0, after)
    const changed = [...after.keys()].filter((at) => after[at] !== before[at])
    expect(changed).toEqual([10, 11, 12, 13, 14])
  })
})

describe('MemoryDevice', () => {
  it('costs only what was written, and gives trimmed chunks back', async () => {
    medium = memoryDevice(8 * 1024 ** 3)
    await medium.write(5 * 1024 ** 3, new Uint8Array(3 * 1024 ** 2))
    expect(medium.allocatedBytes).toBe(3 * 1024 ** 2)
    await medium.trim(5 * 1024 ** 3 + 1, 3 * 1024 ** 2)
    expect(medium.allocatedBytes).toBe(64 * 1024)
  })
})
