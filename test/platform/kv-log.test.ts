/** KvLog: a table that is what was acknowledged, over restarts and full areas. Crashes: kv-log-crash.test.ts. */
import { beforeEach, describe, expect, it } from 'vitest'
import { KiB } from '../../src/base/units.ts'
import { FaultDevice } from '../../src/platform/faults/fault-device.ts'
import { type Change, KvLog } from '../../src/platform/kv-log.ts'
import type { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import { WallClock } from '../../src/platform/real/wall-clock.ts'
import { codeOfFailure } from '../conformance/device-suite.ts'
import { bytesOf, textOf } from '../conformance/network-suite.ts'
import { memoryDevice } from './setup.ts'

const RANGE = { offset: 4 * KiB, length: 64 * KiB }

describe('KvLog', () => {
  let device: MemoryDevice
  let log: KvLog

  beforeEach(async () => {
    device = memoryDevice()
    log = await KvLog.open(device, RANGE)
  })
  const reopen = async (): Promise<KvLog> => {
    log = await KvLog.open(device, RANGE)
    return log
  }

  it('keeps entries over a restart, in key order', async () => {
    await log.commit([put('b', '2'), put('a', '1'), put('é', 'more than ASCII')])
    await log.commit([put('b', 'two'), put('c', ''), remove('a')])
    const expected = [
      ['b', 'two'],
      ['c', ''],
      ['é', 'more than ASCII'],
    ]
    expect(contents(log)).toEqual(expected)
    expect(contents(await reopen())).toEqual(expected)
    expect(textOf(log.get('b')!)).toBe('two')
    expect(log.get('a')).toBeUndefined()
  })

  it('shows a commit when it is durable, not before', async () => {
    const commit = log.commit([put('a', '1')])
    expect(log.get('a')).toBeUndefined()
    await commit
    expect(textOf(log.get('a')!)).toBe('1')
  })

  it('makes one durable write of all that waits', async () => {
    await log.commit([put('first', 'prewrites the space')])
    let durableWrites = 0
    let syncs = 0
    const writeDurably = device.writeDurably.bind(device)
    const sync = device.sync.bind(device)
    device.writeDurably = (...given) => {
      durableWrites += 1
      return writeDurably(...given)
    }
    device.sync = () => {
      syncs += 1
      return sync()
    }
    await Promise.all(Array.from({ length: 50 }, (_, index) => log.commit([put(`${index}`, 'x')])))
    expect([durableWrites, syncs]).toEqual([1, 0])
  })

  it('writes nothing outside its region', async () => {
    await device.write(0, bytesOf('before'.padEnd(RANGE.offset, 'x')))
    await device.write(RANGE.offset + RANGE.length, bytesOf('behind'))
    for (let round = 0; round < 300; round++) await log.commit([put(`${round % 20}`, 'y'.repeat(300))])
    const around = new Uint8Array(RANGE.offset + RANGE.length + 6)
    await device.read(0, around)
    expect(textOf(around.subarray(0, RANGE.offset))).toBe('before'.padEnd(RANGE.offset, 'x'))
    expect(textOf(around.subarray(RANGE.offset + RANGE.length))).toBe('behind')
  })

  it('never writes a sector again that holds acknowledged bytes of the live area', async () => {
    const written = new Set<number>()
    const write = device.write.bind(device)
    const areaBytes = (RANGE.length - 8 * KiB) / 2
    let clashes = 0
    device.write = (offset, parts) => {
      const bytes = parts as Uint8Array
      const slot = (offset - RANGE.offset) / (4 * KiB)
      // A header begins the life of its area: what the other one holds is free to go.
      if (slot < 2) {
        for (const sector of written) {
          const other = sector * 512 - RANGE.offset - 8 * KiB >= areaBytes ? 1 : 0
          if (other !== slot) written.delete(sector)
        }
      }
      for (let at = 0; at < bytes.length && slot >= 2; at += 512) {
        const sector = (offset + at) / 512
        if (written.has(sector)) clashes += 1
        if (bytes.subarray(at, at + 512).some((byte) => byte !== 0)) written.add(sector)
      }
      return write(offset, parts)
    }
    for (let round = 0; round < 400; round++) await log.commit([put(`${round % 7}`, 'z'.repeat(round))])
    expect(clashes).toBe(0)
  })

  it('goes on for ever in a full region, as long as the entries fit', async () => {
    for (let round = 0; round < 2000; round++) {
      void log.commit([put(`key ${round % 30}`, `${round}`.repeat(20))])
      if (round % 7 === 0) await log.commit([remove(`key ${(round + 3) % 30}`)])
    }
    await log.commit([])
    const before = contents(log)
    expect(before.length).toBeGreaterThan(20)
    expect(contents(await reopen())).toEqual(before)
    const { usedBytes } = log.room
    expect(usedBytes).toBe(before.reduce((sum, [key, value]) => sum + 6 + key!.length + value!.length, 0))
  })

  it('refuses with DEVICE_FULL what does not fit, whole, and takes removals and more after', async () => {
    let count = 0
    while ((await codeOfFailure(log.commit([put(`k${count}`, 'x'.repeat(1000))]))) === undefined) count += 1
    const full = contents(log)
    expect(full.length).toBe(count)
    expect(count * 1000).toBeGreaterThan(0.6 * 28 * KiB)
    expect(
      await codeOfFailure(log.commit([remove('k0'), put('k1', 'y'), put('new', 'x'.repeat(2500))])),
    ).toBe('DEVICE_FULL')
    expect(contents(log)).toEqual(full)
    expect(contents(await reopen())).toEqual(full)
    await log.commit([remove('k0')])
    await log.commit([put('fits', 'x'.repeat(900))])
    expect(await codeOfFailure(log.commit([put('big', 'x'.repeat(1000))]))).toBe('DEVICE_FULL')
  })

  it('counts room with what is admitted and not yet durable', async () => {
    const commits = Array.from({ length: 60 }, (_, index) =>
      codeOfFailure(log.commit([put(`k${index}`, 'x'.repeat(1000))])),
    )
    const outcomes = await Promise.all(commits)
    const admitted = outcomes.filter((code) => code === undefined).length
    expect(log.size).toBe(admitted)
    expect(outcomes.indexOf('DEVICE_FULL')).toBe(admitted)
    expect(log.room.usedBytes).toBeLessThanOrEqual(log.room.sizeBytes)
  })

  it('refuses one commit that is too large for any batch', async () => {
    expect(await codeOfFailure(log.commit([put('a', 'x'.repeat(10 * KiB))]))).toBe('DEVICE_FULL')
    expect(contents(log)).toEqual([])
  })

  it.each([
    ['empty', ''],
    ['too long', 'k'.repeat(1025)],
    ['beyond U+FFFF', 'disk 💾'],
  ])('refuses a key that is %s with BAD_ARGUMENT', async (_, key) => {
    expect(await codeOfFailure(log.commit([put('fine', '1'), put(key, '2')]))).toBe('BAD_ARGUMENT')
    expect(log.size).toBe(0)
  })

  it.each([
    ['a fraction of a sector', { offset: 100, length: 64 * KiB }],
    ['too short', { offset: 0, length: 32 * KiB }],
    ['past the end of the device', { offset: 8 * 1024 * KiB, length: 64 * KiB }],
  ])('refuses a region that is %s', async (_, range) => {
    expect(await codeOfFailure(KvLog.open(device, range))).toBe('BAD_ARGUMENT')
  })

  it('refuses a region of another length than it was made with', async () => {
    await log.commit([put('a', '1')])
    expect(await codeOfFailure(KvLog.open(device, { ...RANGE, length: 96 * KiB }))).toBe('BAD_ARGUMENT')
  })

  it('resolves an empty commit after all earlier ones', async () => {
    let earlier = false
    void log.commit([put('a', '1')]).then(() => {
      earlier = true
    })
    await log.commit([])
    expect(earlier).toBe(true)
  })

  it('close waits for what is under way; later commits reject, reads go on', async () => {
    const commit = log.commit([put('a', '1')])
    await log.close()
    await commit
    expect(await codeOfFailure(log.commit([put('b', '2')]))).toBe('DEVICE_FAILED')
    expect(contents(log)).toEqual([['a', '1']])
    await log.close()
  })

  it.each([
    'write',
    'sync',
  ] as const)('ends with a failed %s: nothing after it is acknowledged', async (what) => {
    const faults = new FaultDevice(device, new WallClock())
    log = await KvLog.open(faults, RANGE)
    await log.commit([put('a', '1')])
    if (what === 'write') faults.failNextWrites(1)
    else faults.failNextSyncs(1)
    const first = log.commit([put('b', '2')])
    const second = codeOfFailure(log.commit([put('c', '3')]))
    expect(await codeOfFailure(first)).toBe('DEVICE_FAILED')
    expect(await second).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(log.commit([put('d', '4')]))).toBe('DEVICE_FAILED')
    expect(contents(log)).toEqual([['a', '1']])
    const after = contents(await reopen()).map(([key]) => key)
    expect([['a'], ['a', 'b', 'c']]).toContainEqual(after)
  })

  it('syncs when it opens: what a killed process left in a cache may not be seen before it is durable', async () => {
    let syncs = 0
    const sync = device.sync.bind(device)
    device.sync = () => {
      syncs += 1
      return sync()
    }
    await reopen()
    expect(syncs).toBe(1)
  })
})

function put(key: string, value: string): Change {
  return { key, value: bytesOf(value) }
}

function remove(key: string): Change {
  return { key, value: undefined }
}

function contents(log: KvLog): string[][] {
  return [...log.entries('')].map(([key, value]) => [key, textOf(value)])
}
