/** Faults by chance: each does what it says, is counted, and is off until asked for. */
import { beforeEach, describe, expect, it } from 'vitest'
import { KiB } from '../../src/base/units.ts'
import {
  CHAOS_KINDS,
  ChaosDevice,
  type ChaosKind,
  type ChaosSettings,
  chaosSettings,
} from '../../src/platform/faults/chaos-device.ts'
import type { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SSD } from '../../src/platform/sim/device-models.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimClock } from '../../src/platform/sim/sim-clock.ts'
import { SimMedium } from '../../src/platform/sim/sim-device.ts'
import type { Random } from '../../src/platform/types.ts'
import { codeOfFailure, expectBytes, pattern, runDeviceTests } from '../conformance/device-suite.ts'
import { memoryDevice } from './setup.ts'

const SECTOR = 512

runDeviceTests('chaos over memory, idle', async () => ({
  device: new ChaosDevice(memoryDevice(), new SimClock(new SimLoop()), seededRandom(1)),
}))

runDeviceTests('chaos over a simulated SSD, idle', async () => {
  const loop = new SimLoop()
  const medium = new SimMedium(
    { id: 'node-1.ssd0', tier: 'ssd', size: 8 * 1024 * KiB },
    loop,
    seededRandom(1),
    SSD,
  )
  const open = (): ChaosDevice => new ChaosDevice(medium.open(), new SimClock(loop), seededRandom(2))
  return {
    device: open(),
    reopen: async () => open(),
    async powerLoss() {
      medium.powerLoss()
      return open()
    },
  }
})

interface Injection {
  readonly kind: ChaosKind
  readonly offset: number
  readonly length: number
}

let loop: SimLoop
let medium: MemoryDevice
let injections: Injection[]

beforeEach(() => {
  loop = new SimLoop()
  medium = memoryDevice()
  injections = []
})

function chaos(given: Partial<ChaosSettings> = {}, random: Random = seededRandom(1)): ChaosDevice {
  const onInjected = (kind: ChaosKind, offset: number, length: number): void => {
    injections.push({ kind, offset, length })
  }
  return new ChaosDevice(medium, new SimClock(loop), random, chaosSettings({ onInjected, ...given }))
}

async function contentOf(offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  await medium.read(offset, bytes)
  return bytes
}

function flippedBits(a: Uint8Array, b: Uint8Array): number {
  let bits = 0
  for (const [at, byte] of a.entries()) {
    for (let difference = byte ^ b[at]!; difference > 0; difference >>= 1) bits += difference & 1
  }
  return bits
}

describe('ChaosDevice', () => {
  it('idle draws no random number', async () => {
    const never = (): never => {
      throw new Error('drawn')
    }
    const device = chaos({}, { u32: never, below: never })
    await device.write(0, pattern(1000, 1))
    await device.read(0, new Uint8Array(1000))
    await device.sync()
    await device.trim(0, 1000)
    expect(CHAOS_KINDS.map((kind) => device.injected[kind])).toEqual(CHAOS_KINDS.map(() => 0))
  })

  it('strikes as often as the chance says', async () => {
    const device = chaos({ lostWrite: 0.1 })
    for (let at = 0; at < 2000; at++) await device.write(0, pattern(1, at))
    expect(device.injected.lostWrite).toBeGreaterThan(150)
    expect(device.injected.lostWrite).toBeLessThan(250)
    expect(injections).toHaveLength(device.injected.lostWrite)
  })

  it('latentSectorError: reads of the sector fail until it is written whole', async () => {
    const device = chaos()
    await device.write(0, pattern(8 * KiB, 1))
    device.settings.latentSectorError = 1
    expect(await codeOfFailure(device.read(100, new Uint8Array(5000)))).toBe('DEVICE_FAILED')
    device.settings.latentSectorError = 0
    const [{ kind, offset, length }] = injections as [Injection]
    expect([kind, offset % SECTOR, length]).toEqual(['latentSectorError', 0, SECTOR])
    expect(offset).toBeLessThan(5100)

    const tryRead = (): Promise<string | undefined> =>
      codeOfFailure(device.read(offset + 511, new Uint8Array(1)))
    expect(await tryRead()).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(device.read(offset + SECTOR, new Uint8Array(SECTOR)))).toBeUndefined()
    await device.write(offset, pattern(SECTOR - 1, 2))
    expect(await tryRead()).toBe('DEVICE_FAILED')
    await device.write(offset, pattern(SECTOR, 2))
    expect(await tryRead()).toBeUndefined()
    expect(device.injected.latentSectorError).toBe(1)
  })

  it('latentSectorError: outlives the device when the set of bad sectors does', async () => {
    const bad = new Set<number>()
    const settings = chaosSettings({ latentSectorError: 1 })
    const first = new ChaosDevice(medium, new SimClock(loop), seededRandom(1), settings, bad)
    expect(await codeOfFailure(first.read(0, new Uint8Array(SECTOR)))).toBe('DEVICE_FAILED')
    const next = new ChaosDevice(medium, new SimClock(loop), seededRandom(1), chaosSettings(), bad)
    expect(await codeOfFailure(next.read(0, new Uint8Array(1)))).toBe('DEVICE_FAILED')
  })

  it.each([
    'read',
    'write',
  ] as const)('bitRot: one bit of the range of a %s flips, and stays', async (operation) => {
    const device = chaos()
    const bytes = pattern(3000, 1)
    await device.write(700, bytes)
    device.settings.bitRot = 1
    const seen = new Uint8Array(3000)
    if (operation === 'read') await device.read(700, seen)
    else await device.write(700, bytes)
    device.settings.bitRot = 0
    const after = await contentOf(700, 3000)
    expect(flippedBits(after, bytes)).toBe(1)
    if (operation === 'read') expectBytes(seen, after)
    const [{ kind, offset }] = injections as [Injection]
    expect(kind).toBe('bitRot')
    expect(after[offset - 700]).not.toBe(bytes[offset - 700])
  })

  it('misdirectedWrite: the right place keeps its bytes, another aligned one gets the new', async () => {
    for (let seed = 0; seed < 200; seed++) {
      medium = memoryDevice()
      injections = []
      const device = chaos({ misdirectedWrite: 1 }, seededRandom(seed))
      const offset = seed % 2 === 0 ? 3 * SECTOR + 77 : device.size - 1400
      await medium.write(offset, pattern(1400, 1))
      await device.write(offset, [pattern(1400, 2).subarray(0, 700), pattern(1400, 2).subarray(700)])
      const [{ kind, offset: place, length }] = injections as [Injection]
      expect([kind, length, (place - offset) % SECTOR]).toEqual(['misdirectedWrite', 1400, expect.closeTo(0)])
      expect(Math.abs(place - offset)).toBeGreaterThanOrEqual(1400)
      expectBytes(await contentOf(offset, 1400), pattern(1400, 1))
      expectBytes(await contentOf(place, 1400), pattern(1400, 2))
    }
  })

  it('misdirectedWrite: a write of the whole device has no other place to go', async () => {
    const device = chaos({ misdirectedWrite: 1 })
    await device.write(0, pattern(device.size, 1))
    expect(injections).toEqual([])
    expectBytes(await contentOf(0, device.size), pattern(device.size, 1))
  })

  it('lostWrite: acknowledged, and not done', async () => {
    const device = chaos()
    await device.write(0, pattern(1000, 1))
    device.settings.lostWrite = 1
    await device.write(0, pattern(1000, 2))
    expectBytes(await contentOf(0, 1000), pattern(1000, 1))
    expect(injections).toEqual([{ kind: 'lostWrite', offset: 0, length: 1000 }])
  })

  it('slow: begins late, by a time in the range', async () => {
    const device = chaos({ slow: 1, slowMs: { min: 20, max: 30 } })
    for (const operation of [
      () => device.read(0, new Uint8Array(1)),
      () => device.write(0, new Uint8Array(1)),
      () => device.sync(),
      () => device.trim(0, 1),
    ]) {
      const before = loop.now
      await operation()
      expect(loop.now - before).toBeGreaterThanOrEqual(20)
      expect(loop.now - before).toBeLessThan(30)
    }
    expect(device.injected.slow).toBe(4)
  })

  it('waits at a close for what is slow, which then ends well', async () => {
    const device = chaos({ slow: 1, slowMs: { min: 20, max: 20 } })
    const write = codeOfFailure(device.write(0, pattern(10, 1)))
    await device.close()
    expect(loop.now).toBe(20)
    expect(await write).toBeUndefined()
  })

  it('full: refuses writes only, and only while it is on', async () => {
    const device = chaos()
    await device.write(0, pattern(10, 1))
    device.settings.full = true
    expect(await codeOfFailure(device.write(0, pattern(10, 2)))).toBe('DEVICE_FULL')
    await device.read(0, new Uint8Array(10))
    await device.sync()
    await device.trim(4096, 10)
    expectBytes(await contentOf(0, 10), pattern(10, 1))
    device.settings.full = false
    await device.write(0, pattern(10, 2))
    expect(device.injected.full).toBe(1)
  })

  it('dead: refuses everything, also what is under way, and may come back', async () => {
    const device = chaos({ slow: 1 })
    const underWay = codeOfFailure(device.write(0, pattern(10, 1)))
    device.settings.slow = 0
    device.settings.dead = true
    const all = [
      underWay,
      ...[device.read(0, new Uint8Array(1)), device.sync(), device.trim(0, 1)].map(codeOfFailure),
    ]
    expect(await Promise.all(all)).toEqual(new Array(4).fill('DEVICE_FAILED'))
    expect(device.injected.dead).toBe(4)
    device.settings.dead = false
    await device.write(0, pattern(10, 2))
  })

  it('spares the sectors that the hook names', async () => {
    const spare = (offset: number): boolean => offset < 64 * KiB
    const device = chaos({
      spare,
      latentSectorError: 0.5,
      bitRot: 0.5,
      misdirectedWrite: 0.5,
      lostWrite: 0.5,
    })
    const kept = pattern(64 * KiB, 1)
    await device.write(0, kept)
    for (let round = 0; round < 50; round++) {
      await device.read(0, new Uint8Array(64 * KiB))
      // Around the border, so that places on both sides of it are near.
      await device.write(64 * KiB + round * SECTOR, pattern(SECTOR, round))
    }
    expectBytes(await contentOf(0, 64 * KiB), kept)
    expect(device.injected.latentSectorError).toBe(0)
    expect(
      device.injected.lostWrite * device.injected.misdirectedWrite * device.injected.bitRot,
    ).toBeGreaterThan(0)
    expect(injections.every(({ offset }) => offset >= 64 * KiB)).toBe(true)
  })

  it('does the same for the same seed', async () => {
    const run = async (seed: number): Promise<Injection[]> => {
      injections = []
      const device = chaos({ latentSectorError: 0.1, bitRot: 0.1, misdirectedWrite: 0.1 }, seededRandom(seed))
      for (let round = 0; round < 50; round++) {
        await device.write(round * SECTOR, pattern(SECTOR, round))
        await codeOfFailure(device.read(round * SECTOR, new Uint8Array(SECTOR)))
      }
      return injections
    }
    const first = await run(1)
    expect(first.length).toBeGreaterThan(5)
    expect(await run(1)).toEqual(first)
    expect(await run(2)).not.toEqual(first)
  })
})
