/** Every device, and every decorator in its idle state, keeps the contract of `BlockDevice`. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MiB } from '../../src/base/units.ts'
import { CrashDevice } from '../../src/platform/faults/crash-device.ts'
import { FaultDevice } from '../../src/platform/faults/fault-device.ts'
import { hangable } from '../../src/platform/faults/hang.ts'
import { FileDevice } from '../../src/platform/real/file-device.ts'
import { MemoryDevice } from '../../src/platform/real/memory-device.ts'
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
  'crash decorator, no crash',
  decorated((inner) => new CrashDevice(inner)),
)
runDeviceTests(
  'hangable platform, running',
  decorated((inner) => hangable(platformWith({ devices: [inner] })).platform.devices[0]!),
)

function decorated(decorate: (inner: BlockDevice) => BlockDevice): () => Promise<DeviceUnderTest> {
  return async () => ({ device: decorate(memoryDevice()) })
}
