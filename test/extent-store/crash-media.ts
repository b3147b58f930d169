/**
 * Media that can lose their power, for the crash tests: memory and real files behind the layer that forgets what was not
 * synced, and the simulated medium with its own cache. All draw what comes through from the `Random` they are made with.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Tier } from '../../src/base/units.ts'
import { CrashDevice } from '../../src/platform/faults/crash-device.ts'
import { FileDevice } from '../../src/platform/real/file-device.ts'
import { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import { HDD, SSD } from '../../src/platform/sim/device-models.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimMedium } from '../../src/platform/sim/sim-device.ts'
import type { BlockDevice, Random } from '../../src/platform/types.ts'

/** From one start to the next power loss. */
export interface Life {
  readonly device: BlockDevice
  /** Power goes off in the middle of the write (of either kind), sync or trim that comes after `count` more of them. */
  powerOffAfter(count: number): void
  /** When it resolves, the medium holds what came through, and can be opened again. */
  powerLoss(): Promise<void>
}

export interface CrashMedium {
  open(): Promise<Life>
  /** Ends the medium and what it has on this machine. */
  remove(): Promise<void>
}

/** Makes a blank medium. `size` in bytes. */
export type MakeMedium = (shape: { tier: Tier; size: number }, random: Random) => Promise<CrashMedium>

export async function openAll(media: readonly CrashMedium[]): Promise<readonly Life[]> {
  const lives: Life[] = []
  for (const medium of media) lives.push(await medium.open())
  return lives
}

export const memoryMedium: MakeMedium = async ({ tier, size }, random) => {
  const memory = new MemoryDevice({ id: idOf(tier), tier, size })
  return {
    open: async () => forgetful(memory, random),
    remove: () => memory.close(),
  }
}

/** A file in a folder of its own. Each life opens it anew, so that what is found is what the file holds. */
export const fileMedium: MakeMedium = async ({ tier, size }, random) => {
  const folder = await mkdtemp(join(tmpdir(), 'hither-crash-'))
  let file: FileDevice | undefined
  return {
    open: async () => {
      await file?.close()
      file = await FileDevice.open(join(folder, tier), { id: idOf(tier), tier, size, create: true })
      return forgetful(file, random)
    },
    remove: async () => {
      await file?.close()
      await rm(folder, { recursive: true })
    },
  }
}

export const simMedium: MakeMedium = async ({ tier, size }, random) => {
  const loop = new SimLoop()
  const model = tier === 'ssd' ? SSD : HDD
  const medium = new SimMedium({ id: idOf(tier), tier, size, isSparse: true }, loop, random, model)
  return {
    open: async () => new SimLife(medium),
    remove: async () => loop.stop(),
  }
}

function forgetful(inner: BlockDevice, random: Random): Life {
  const device = new CrashDevice(inner)
  return {
    device,
    powerOffAfter: (count) => device.powerOffAfter(count),
    powerLoss: () => device.crash(random),
  }
}

/** Counts the changes that a simulated device begins, and takes the medium's power with one of them under way. */
class SimLife implements Life {
  readonly device: BlockDevice
  readonly #medium: SimMedium
  #changesLeft = Number.POSITIVE_INFINITY

  constructor(medium: SimMedium) {
    const inner = medium.open()
    this.#medium = medium
    this.device = {
      id: inner.id,
      tier: inner.tier,
      size: inner.size,
      sectorSize: inner.sectorSize,
      isSparse: inner.isSparse === true,
      read: (offset, target) => inner.read(offset, target),
      write: (offset, parts) => this.#change(() => inner.write(offset, parts)),
      writeDurably: (offset, parts) => this.#change(() => inner.writeDurably(offset, parts)),
      sync: () => this.#change(() => inner.sync()),
      trim: (offset, length) => this.#change(() => inner.trim(offset, length)),
      close: () => inner.close(),
    }
  }

  powerOffAfter(count: number): void {
    this.#changesLeft = count
  }

  async powerLoss(): Promise<void> {
    this.#medium.powerLoss()
  }

  #change(begin: () => Promise<void>): Promise<void> {
    const done = begin()
    this.#changesLeft -= 1
    if (this.#changesLeft === -1) this.#medium.powerLoss()
    return done
  }
}

function idOf(tier: Tier): string {
  return `node-1.${tier}0`
}
