/** Platforms for the tests of this folder. */

import { MiB } from '../../src/base/units.ts'
import { GuestActivity } from '../../src/platform/bulk-work.ts'
import { LogCatalog } from '../../src/platform/real/log-catalog.ts'
import { LoopbackHub } from '../../src/platform/real/loopback-network.ts'
import { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { WallClock } from '../../src/platform/real/wall-clock.ts'
import type { Catalog, Platform } from '../../src/platform/types.ts'

export function memoryDevice(size = 8 * MiB): MemoryDevice {
  return new MemoryDevice({ id: 'node-1.ssd0', tier: 'ssd', size })
}

export function memoryCatalog(): Promise<LogCatalog> {
  return LogCatalog.open(memoryDevice(1 * MiB), new WallClock())
}

/** A platform with the parts given. A test that uses a catalog must give one. */
export function platformWith(parts: Partial<Platform>): Platform {
  return {
    node: 'node-1',
    clock: new WallClock(),
    random: seededRandom(1),
    network: new LoopbackHub().endpoint('node-1'),
    catalog: noCatalog,
    devices: [],
    guests: new GuestActivity(),
    ...parts,
  }
}

export function realPass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

const noCatalog = new Proxy({} as Catalog, {
  get() {
    throw new Error('this test has no catalog')
  },
})
