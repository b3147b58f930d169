/** Simulated devices: the contract of a device, the times of the models, and what a power loss may do. */
import { beforeEach, describe, expect, it } from 'vitest'
import { KiB, MiB } from '../../src/base/units.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { HDD, overrideModel, SSD, serviceMs } from '../../src/platform/sim/device-models.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimMedium } from '../../src/platform/sim/sim-device.ts'
import { codeOfFailure, expectBytes, pattern, runDeviceTests } from '../conformance/device-suite.ts'

const SECTOR = 512

let loop: SimLoop
beforeEach(() => {
  loop = new SimLoop()
})

function mediumOf(model = SSD, seed = 1, size = 8 * MiB): SimMedium {
  const tier = model.seek ? 'hdd' : 'ssd'
  return new SimMedium({ id: `node-1.${tier}0`, tier, size }, loop, seededRandom(seed), model)
}

for (const [name, model] of [
  ['simulated SSD', SSD],
  ['simulated HDD', HDD],
  ['simulated SSD with a cache of 4 KiB', overrideModel(SSD, { cacheBytes: 4 * KiB })],
] as const) {
  runDeviceTests(name, async () => {
    const medium = mediumOf(model)
    return {
      device: medium.open(),
      reopen: async () => medium.open(),
      async powerLoss() {
        medium.powerLoss()
        return medium.open()
      },
    }
  })
}

function filled(sectors: number, value: number): Uint8Array {
  return new Uint8Array(sectors * SECTOR).fill(value)
}

/** The first byte of each of the first sectors, all bytes of each being equal. */
async function sectorsOf(medium: SimMedium, count: number): Promise<number[]> {
  const bytes = new Uint8Array(count * SECTOR)
  await medium.open().read(0, bytes)
  return Array.from({ length: count }, (_, index) => {
    const sector = bytes.subarray(index * SECTOR, (index + 1) * SECTOR)
    expect(sector.every((byte) => byte === sector[0])).toBe(true)
    return sector[0]!
  })
}

function times<T>(count: number, make: (index: number) => T): T[] {
  return Array.from({ length: count }, (_, index) => make(index))
}

describe('SimMedium, power loss', () => {
  it('loses no synced write, and of the others any sectors, in any version', async () => {
    const seen = new Set<string>()
    for (let seed = 0; seed < 200; seed++) {
      const medium = mediumOf(SSD, seed)
      const device = medium.open()
      await device.write(0, filled(16, 1))
      await device.sync()
      await device.write(8 * SECTOR, filled(8, 2))
      await device.write(8 * SECTOR, filled(8, 3))
      medium.powerLoss()
      const sectors = await sectorsOf(medium, 16)
      expect(sectors.slice(0, 8)).toEqual(new Array(8).fill(1))
      seen.add([...new Set(sectors.slice(8))].sort().join(''))
    }
    // Whole in each version, and mixed: a frame may come through intact, and may not.
    expect([...seen].sort()).toEqual(expect.arrayContaining(['1', '2', '3', '12', '13', '123']))
    expect([...seen].every((values) => /^1?2?3?$/.test(values))).toBe(true)
  })

  it('keeps a later write while it loses an earlier one', async () => {
    const outcomes = new Set<string>()
    for (let seed = 0; seed < 60; seed++) {
      const medium = mediumOf(SSD, seed)
      const device = medium.open()
      await device.write(0, filled(1, 1))
      await device.write(SECTOR, filled(1, 2))
      medium.powerLoss()
      outcomes.add((await sectorsOf(medium, 2)).join(''))
    }
    expect([...outcomes].sort()).toEqual(['00', '02', '10', '12'])
  })

  it('tears a write under way, rejects it, and kills the device', async () => {
    const seen = new Set<number>()
    for (let seed = 0; seed < 20; seed++) {
      const medium = mediumOf(SSD, seed)
      const device = medium.open()
      await device.write(0, filled(8, 1))
      await device.sync()
      const write = codeOfFailure(device.write(0, filled(8, 2)))
      const sync = codeOfFailure(device.sync())
      const waiting = codeOfFailure(device.sync())
      const read = codeOfFailure(device.read(0, new Uint8Array(1)))
      medium.powerLoss()
      expect(await Promise.all([write, sync, waiting, read])).toEqual(new Array(4).fill('DEVICE_FAILED'))
      expect(await codeOfFailure(device.read(0, new Uint8Array(1)))).toBe('DEVICE_FAILED')
      for (const sector of await sectorsOf(medium, 8)) seen.add(sector)
      await device.close()
    }
    expect([...seen].sort()).toEqual([1, 2])
  })

  it('lets a write be lost that ended after the flush began', async () => {
    let lost = 0
    for (let seed = 0; seed < 20; seed++) {
      const slowSync = { median: 50, p99: 50, max: 50 }
      const medium = mediumOf(overrideModel(SSD, { syncMs: slowSync }), seed)
      const device = medium.open()
      await device.write(0, filled(1, 1))
      const sync = device.sync()
      await device.write(SECTOR, filled(1, 2))
      await sync
      medium.powerLoss()
      const [first, second] = await sectorsOf(medium, 2)
      expect(first).toBe(1)
      if (second === 0) lost += 1
    }
    expect(lost).toBeGreaterThan(2)
    expect(lost).toBeLessThan(20)
  })

  it('covers with the next flush what a sync saw that came during one', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const medium = mediumOf(SSD, seed)
      const device = medium.open()
      const first = device.sync()
      await device.write(0, filled(4, 1))
      await Promise.all([device.sync(), device.sync(), first])
      medium.powerLoss()
      expect(await sectorsOf(medium, 4)).toEqual([1, 1, 1, 1])
    }
  })

  it('undoes only the sectors that an unaligned write touched, and loses nothing beside it', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const medium = mediumOf(SSD, seed)
      const device = medium.open()
      const before = pattern(4 * SECTOR, 1)
      await device.write(0, before)
      await device.sync()
      await device.write(700, filled(1, 0))
      medium.powerLoss()
      const after = new Uint8Array(4 * SECTOR)
      await medium.open().read(0, after)
      for (const [at, byte] of after.entries()) {
        const touched = at >= 700 && at < 700 + SECTOR
        expect(byte === before[at] || (touched && byte === 0)).toBe(true)
      }
    }
  })

  it('may bring trimmed space back until a sync', async () => {
    const seen = new Set<number>()
    for (let seed = 0; seed < 20; seed++) {
      const medium = mediumOf(SSD, seed)
      const device = medium.open()
      await device.write(0, filled(256, 1))
      await device.sync()
      await device.trim(0, 256 * SECTOR)
      expect(new Set(await sectorsOf(medium, 256))).toEqual(new Set([0]))
      if (seed % 2 === 0) await device.sync()
      medium.powerLoss()
      const after = await sectorsOf(medium, 256)
      if (seed % 2 === 0) expect(new Set(after)).toEqual(new Set([0]))
      else for (const sector of after) seen.add(sector)
    }
    expect([...seen].sort()).toEqual([0, 1])
  })

  it('keeps the cache over a close, and may lose it later', async () => {
    let lost = 0
    for (let seed = 0; seed < 10; seed++) {
      const medium = mediumOf(SSD, seed)
      const device = medium.open()
      await device.write(0, filled(4, 1))
      await device.close()
      expect(await sectorsOf(medium, 4)).toEqual([1, 1, 1, 1])
      medium.powerLoss()
      if ((await sectorsOf(medium, 4)).includes(0)) lost += 1
    }
    expect(lost).toBeGreaterThan(0)
  })

  it('makes the oldest writes durable when the cache is full, and holds no more than that', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const medium = mediumOf(overrideModel(SSD, { cacheBytes: 8 * SECTOR }), seed)
      const device = medium.open()
      for (let sector = 0; sector < 32; sector++) await device.write(sector * SECTOR, filled(1, 1))
      expect(medium.unsyncedBytes).toBeLessThanOrEqual(8 * SECTOR)
      medium.powerLoss()
      expect((await sectorsOf(medium, 24)).every((sector) => sector === 1)).toBe(true)
    }
  })

  it('remembers the old bytes right after many long writes and syncs', async () => {
    const seen = new Set<number>()
    for (let seed = 0; seed < 6; seed++) {
      const medium = mediumOf(SSD, seed)
      const device = medium.open()
      for (let version = 1; version <= 9; version++) {
        await device.write(0, filled(1500, version))
        if (version !== 8) await device.sync()
        // More than one generation of old bytes at once.
        if (version === 8) await device.write(750 * SECTOR, filled(750, 18))
      }
      await device.write(0, filled(1500, 10))
      await device.write(100 * SECTOR, filled(1300, 11))
      medium.powerLoss()
      const after = await sectorsOf(medium, 1500)
      expect(
        [...after.slice(0, 100), ...after.slice(1400)].every((value) => value === 9 || value === 10),
      ).toBe(true)
      for (const value of after) seen.add(value)
    }
    expect([...seen].sort((a, b) => a - b)).toEqual([9, 10, 11])
  })

  it('leaves everything durable that it left at all', async () => {
    const medium = mediumOf(SSD, 5)
    await medium.open().write(0, filled(64, 1))
    medium.powerLoss()
    const after = await sectorsOf(medium, 64)
    expect(medium.unsyncedBytes).toBe(0)
    medium.powerLoss()
    expect(await sectorsOf(medium, 64)).toEqual(after)
  })
})

describe('SimMedium', () => {
  it('waits at a close for the IO under way, which ends well', async () => {
    const device = mediumOf().open()
    let ended = 0
    const ends = times(5, () => device.write(0, filled(1, 1)).then(() => ended++))
    await device.close()
    expect(ended).toBe(5)
    await Promise.all(ends)
  })

  it('takes memory for what is written, in small pieces, and gives trimmed pieces back', async () => {
    const medium = mediumOf(SSD, 1, 1024 * MiB)
    const device = medium.open()
    await device.write(512 * MiB, filled(1, 1))
    expect(medium.allocatedBytes).toBeLessThanOrEqual(64 * KiB)
    await device.trim(512 * MiB, 1 * MiB)
    expect(medium.allocatedBytes).toBe(0)
  })

  it('does the same at the same times for the same seed', async () => {
    const run = async (seed: number): Promise<string> => {
      loop = new SimLoop()
      const medium = mediumOf(HDD, seed)
      const device = medium.open()
      await Promise.all(times(20, (index) => device.write(index * 100_000, pattern(5000, index))))
      medium.powerLoss()
      const bytes = new Uint8Array(2 * MiB)
      await medium.open().read(0, bytes)
      for (const byte of bytes) loop.note(byte)
      return `${loop.hash} ${loop.now}`
    }
    const first = await run(1)
    expect(await run(1)).toBe(first)
    expect(await run(2)).not.toBe(first)
  })

  it('serves as many at once as its queue is deep', async () => {
    const fixed = { median: 1, p99: 1, max: 1 }
    const elapsed = async (queueDepth: number): Promise<number> => {
      const before = loop.now
      const device = mediumOf(overrideModel(SSD, { readMs: fixed, queueDepth })).open()
      await Promise.all(times(64, () => device.read(0, new Uint8Array(1))))
      return loop.now - before
    }
    expect(await elapsed(1)).toBeGreaterThan(50)
    expect(await elapsed(16)).toBeLessThan(5)
  })

  it('shares one bandwidth among all', async () => {
    const model = overrideModel(SSD, { writeBytesPerSecond: 100 * MiB })
    const device = mediumOf(model).open()
    await Promise.all(times(8, (index) => device.write(index * MiB, new Uint8Array(1 * MiB))))
    expect(loop.now).toBeGreaterThanOrEqual(80)
    expect(loop.now).toBeLessThan(90)
  })

  it('makes one flush of many syncs at once', async () => {
    const device = mediumOf(overrideModel(SSD, { syncMs: { median: 10, p99: 10, max: 10 } })).open()
    await Promise.all(times(100, () => device.sync()))
    expect(loop.now).toBeLessThan(25)
  })
})

describe('serviceMs', () => {
  const draws = 5000
  const sorted = (make: (draw: number) => number): number[] => times(draws, make).sort((a, b) => a - b)

  it('has the median and the tail of the model', () => {
    const random = seededRandom(3)
    const all = sorted(() => serviceMs(SSD, 'read', 0, 0, 0, random))
    expect(all[draws / 2]).toBeCloseTo(SSD.readMs.median, 2)
    expect(all[draws * 0.99]).toBeGreaterThan(SSD.readMs.p99 * 0.8)
    expect(all[draws * 0.98]).toBeLessThanOrEqual(SSD.readMs.p99)
    expect(all.at(-1)).toBeLessThanOrEqual(SSD.readMs.max)
    expect(all[0]).toBeGreaterThan(0)
  })

  it('adds the transfer', () => {
    const long = serviceMs(HDD, 'read', 0, 0, 20_000_000, seededRandom(1))
    const short = serviceMs(HDD, 'read', 0, 0, 0, seededRandom(1))
    expect(long - short).toBeCloseTo(100)
  })

  it('gives a disk about 13 ms for a random read, and no seek for the next byte', () => {
    const random = seededRandom(4)
    const span = HDD.seek!.strokeBytes
    const reads = sorted(() =>
      serviceMs(HDD, 'read', random.below(span), random.below(span), 4 * KiB, random),
    )
    const mean = reads.reduce((sum, ms) => sum + ms, 0) / draws
    expect(mean).toBeGreaterThan(12)
    expect(mean).toBeLessThan(14.5)
    const next = sorted(() => serviceMs(HDD, 'write', 4096, 4096, 4 * KiB, random))
    expect(next[draws / 2]).toBeLessThan(0.2)
  })

  it('takes longer for a longer way of the arm', () => {
    const way = (distance: number): number => serviceMs(HDD, 'read', distance, 0, 0, seededRandom(7))
    expect(way(2 * MiB)).toBeLessThan(way(HDD.seek!.strokeBytes / 4))
    expect(way(HDD.seek!.strokeBytes / 4)).toBeLessThan(way(HDD.seek!.strokeBytes))
  })

  it('overrides single numbers', () => {
    const model = overrideModel(SSD, { readMs: { p99: 3 }, queueDepth: 7 })
    expect([model.readMs.p99, model.readMs.median, model.queueDepth]).toEqual([3, SSD.readMs.median, 7])
    expect(model.seek).toBeUndefined()
    expect(overrideModel(HDD, { seek: { rotationMs: 4 } }).seek).toEqual({ ...HDD.seek, rotationMs: 4 })
  })
})

it('reads back bytes over chunk borders after a power loss', async () => {
  const medium = mediumOf()
  const device = medium.open()
  const bytes = pattern(300 * KiB, 3)
  await device.write(60 * KiB + 100, bytes)
  await device.sync()
  medium.powerLoss()
  const after = new Uint8Array(bytes.length)
  await medium.open().read(60 * KiB + 100, after)
  expectBytes(after, bytes)
})
