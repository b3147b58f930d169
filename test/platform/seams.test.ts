/** Networks, clocks, catalogs and randomness, real and gated, keep the contracts of their seams. */
import { expect, it } from 'vitest'
import { hangable } from '../../src/platform/faults/hang.ts'
import { LogCatalog } from '../../src/platform/real/log-catalog.ts'
import { LoopbackHub } from '../../src/platform/real/loopback-network.ts'
import { osRandom, seededRandom } from '../../src/platform/real/random.ts'
import { WallClock } from '../../src/platform/real/wall-clock.ts'
import { runCatalogTests } from '../conformance/catalog-suite.ts'
import { runClockTests } from '../conformance/clock-suite.ts'
import { codeOfFailure } from '../conformance/device-suite.ts'
import { runNetworkTests } from '../conformance/network-suite.ts'
import { runRandomTests } from '../conformance/random-suite.ts'
import { memoryCatalog, memoryDevice, platformWith, realPass } from './setup.ts'

const settle = (): Promise<void> => realPass(2)

runNetworkTests('loopback', async () => {
  const hub = new LoopbackHub()
  return { open: (name) => hub.endpoint(name), settle }
})

runNetworkTests('loopback behind a hangable platform', async () => {
  const hub = new LoopbackHub()
  return { open: (name) => hangable(platformWith({ network: hub.endpoint(name) })).platform.network, settle }
})

it('LoopbackHub refuses a second endpoint of one name, and allows it after a close', async () => {
  const hub = new LoopbackHub()
  const first = hub.endpoint('a')
  expect(await codeOfFailure((async () => hub.endpoint('a'))())).toBe('IN_USE')
  await first.close()
  expect(hub.endpoint('a').self).toBe('a')
})

it('LoopbackHub delivers to others what a throwing handler leaves behind', async () => {
  const hub = new LoopbackHub()
  const [a, b, c] = ['a', 'b', 'c'].map((name) => hub.endpoint(name))
  const got: string[] = []
  const surfaced: unknown[] = []
  const listeners = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.once('uncaughtException', (error) => surfaced.push(error))
  b!.onFrame(() => {
    throw new Error('a bug of b')
  })
  c!.onFrame((from) => got.push(from))
  a!.send('b', [new Uint8Array(1)])
  a!.send('c', [new Uint8Array(1)])
  await settle()
  for (const listener of listeners) process.on('uncaughtException', listener)
  expect(got).toEqual(['a'])
  expect(surfaced).toEqual([new Error('a bug of b')])
})

runClockTests('wall', async () => ({ clock: new WallClock(), pass: realPass }))

runClockTests('wall behind a hangable platform', async () => ({
  clock: hangable(platformWith({ clock: new WallClock() })).platform.clock,
  pass: realPass,
}))

runCatalogTests('log', async () => {
  const device = memoryDevice()
  const catalog = await LogCatalog.open(device, new WallClock())
  return {
    catalog,
    pass: realPass,
    // Nothing is closed or told: as after a crash.
    restart: () => LogCatalog.open(device, new WallClock()),
    cleanup: () => catalog.close(),
  }
})

runCatalogTests('log behind a hangable platform', async () => ({
  catalog: hangable(platformWith({ catalog: await memoryCatalog() })).platform.catalog,
  pass: realPass,
}))

runRandomTests('seeded', () => seededRandom(7))
runRandomTests('of the operating system', osRandom)

it('seededRandom repeats itself for a seed, and differs for another from the first number on', () => {
  const draw = (seed: number): number[] => {
    const random = seededRandom(seed)
    return Array.from({ length: 20 }, () => random.u32())
  }
  expect(draw(42)).toEqual(draw(42))
  const firsts = Array.from({ length: 1000 }, (_, seed) => draw(seed)[0]! >>> 24)
  // 1,000 balls in 256 boxes leave about 5 empty; neighbouring seeds with neighbouring numbers would leave most.
  expect(new Set(firsts).size).toBeGreaterThan(235)
})
