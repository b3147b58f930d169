/** Every device, and every decorator in its idle state, keeps the contract of `BlockDevice`. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MiB } from '../../src/base/units.ts'
import { CrashDevice } from '../../src/platform/faults/crash-device.ts'
import { FaultDevice } from '../../src/platform/faults/fault-device.ts'
import { hangable } from '../../src/platform/faults/hang.ts'
import { FileDevice } from '../../src/platform/real/file-device.ts'
import { KeptDevice } from '../../src/platform/real/kept-device.ts'
import { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { WallClock } from '../../src/platform/real/wall-clock.ts'
import type { BlockDevice } from '../../src/platform/types.ts'
import { type DeviceUnderTest, runDeviceTests } from '../conformance/device-suite.ts'
import { memoryDevice, platformWith } from './setup.ts'

runDeviceTests('memory', async () => ({ device: memoryDevice() }))

runDeviceTests('memory, size not a multiple of its chunks', async () => ({
  device: new MemoryDevice({ id: 'odd', tier: 'hdd', size: 5 * MiB + 512 }),
}))

runDeviceTests('file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hither-device-'))
  const path = join(folder, 'ssd0')
  const options = { id: 'node-1.ssd0', tier: 'ssd' } as const
  return {
    device: await FileDevice.open(path, { ...options, size: 8 * MiB, create: true }),
    reopen: () => FileDevice.open(path, options),
    cleanup: () => rm(folder, { recursive: true }),
  }
})

runDeviceTests(
  'fault decorator, idle',
  decorated((inner) => new FaultDevice(inner, new WallClock())),
)
runDeviceTests(
  'decorator that outlives its user',
  decorated((inner) => new KeptDevice(inner)),
)
runDeviceTests(
  'crash decorator',
  decorated((inner) => inner),
)
runDeviceTests(
  'hangable platform, running',
  decorated((inner) => hangable(platformWith({ devices: [inner] })).platform.devices[0]!),
)

/** Over a medium that loses its power: the decorator must not make a durable write of less than it was asked for. */
function decorated(decorate: (inner: BlockDevice) => BlockDevice): () => Promise<DeviceUnderTest> {
  return async () => {
    const memory = memoryDevice()
    const random = seededRandom(1)
    let cache = new CrashDevice(memory)
    return {
      device: decorate(cache),
      async powerLoss() {
        await cache.crash(random)
        cache = new CrashDevice(memory)
        return decorate(cache)
      },
    }
  }
}
