/** The real world of an embedded cluster: at `memory:` or in the folder of `file:DIR`, which it locks while it is open. */
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { HitherError } from '../base/errors.ts'
import { MiB, type NodeId } from '../base/units.ts'
import type { DeviceRecord } from '../cluster/records.ts'
import { GuestActivity } from '../platform/bulk-work.ts'
import { acquireDataLock, type DataLock } from '../platform/real/data-lock.ts'
import { FileDevice } from '../platform/real/file-device.ts'
import { KeptDevice } from '../platform/real/kept-device.ts'
import { LogCatalog } from '../platform/real/log-catalog.ts'
import { LoopbackHub } from '../platform/real/loopback-network.ts'
import { MemoryDevice } from '../platform/real/memory-device.ts'
import { osRandom, seededRandom } from '../platform/real/random.ts'
import { ThreadPacker } from '../platform/real/thread-packer.ts'
import { WallClock } from '../platform/real/wall-clock.ts'
import type { BlockDevice, Clock, Network, Random, SlicePacker } from '../platform/types.ts'
import type { Surroundings, World } from './world.ts'

/** The catalog's device: small state, but a generous bound; the file is sparse. */
const CATALOG_BYTES = 512 * MiB

interface Parts {
  readonly folder: string | undefined
  readonly clock: Clock
  readonly random: Random
  readonly catalog: LogCatalog
  readonly device: BlockDevice
  readonly lock: DataLock | undefined
  readonly packThreads: number
}

/**
 * @param seed of every random choice; `undefined`: from the operating system
 * @param packThreads threads that compress large writes, beside this one
 */
export async function openRealWorld(
  location: string,
  seed: number | undefined,
  packThreads: number,
): Promise<RealWorld> {
  const folder = folderOf(location)
  const clock = new WallClock()
  const random = seed === undefined ? osRandom() : seededRandom(seed)
  if (folder !== undefined) await mkdir(folder, { recursive: true })
  const lock = folder === undefined ? undefined : await acquireDataLock(folder)
  try {
    const options = { id: 'catalog', tier: 'ssd', size: CATALOG_BYTES } as const
    const file =
      folder === undefined
        ? undefined
        : await FileDevice.open(join(folder, 'catalog'), { ...options, create: true })
    const device: BlockDevice = file ?? new MemoryDevice(options)
    const catalog = await LogCatalog.open(device, clock, file?.isNew ?? true)
    return new RealWorld({ folder, clock, random, catalog, device, lock, packThreads })
  } catch (error) {
    await lock?.release()
    throw error
  }
}

function folderOf(location: string): string | undefined {
  if (location === 'memory:') return undefined
  if (location.startsWith('file:') && location.length > 'file:'.length) {
    return resolve(location.slice('file:'.length))
  }
  throw new HitherError('BAD_LOCATION', `a location is memory: or file:DIR, not ${location}`)
}

export class RealWorld implements World {
  readonly clock: Clock
  readonly random: Random
  readonly catalog: LogCatalog
  private readonly parts: Parts
  private readonly hub = new LoopbackHub()
  /** One for all CVMs: they share a thread. */
  private readonly guestActivity = new GuestActivity()
  /** One for all CVMs: they share the cores. */
  private readonly packers: ThreadPacker
  /** Media of a memory cluster live as long as the world. */
  private readonly memory = new Map<string, MemoryDevice>()
  /** An open cluster keeps the process alive, as an open server does: an IO may be waiting for nothing but a timer. */
  private readonly keepAlive = setInterval(() => {}, 0x7fff_ffff)

  constructor(parts: Parts) {
    this.parts = parts
    this.clock = parts.clock
    this.random = parts.random
    this.catalog = parts.catalog
    this.packers = new ThreadPacker(parts.packThreads)
  }

  of(): Surroundings {
    return this
  }

  guests(): GuestActivity {
    return this.guestActivity
  }

  packer(): SlicePacker {
    return this.packers
  }

  endpoint(name: string): Network {
    return this.hub.endpoint(name)
  }

  async openDevice(node: NodeId, record: DeviceRecord): Promise<BlockDevice> {
    const { id, tier, size } = record
    if (this.parts.folder !== undefined) {
      const folder = join(this.parts.folder, node)
      await mkdir(folder, { recursive: true })
      const file = join(folder, id.slice(id.lastIndexOf('.') + 1))
      return FileDevice.open(file, { id, tier, size, create: true })
    }
    let device = this.memory.get(id)
    if (device === undefined) {
      device = new MemoryDevice({ id, tier, size })
      this.memory.set(id, device)
    }
    return new KeptDevice(device)
  }

  async close(): Promise<void> {
    clearInterval(this.keepAlive)
    await this.packers.close()
    await this.catalog.close()
    await this.parts.device.close()
    await this.parts.lock?.release()
  }
}
