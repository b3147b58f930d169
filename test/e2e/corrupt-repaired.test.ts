/**
 * Rotten bytes in the device files of a stopped cluster, found after its next start. Guards: reads are right while
 * another copy lives; what was found is counted and written anew, so that the other copy may rot next; with both rotten
 * the door answers EIO and the command line CHECKSUM_MISMATCH, never wrong bytes. (corrupt.test.ts has any offset,
 * tables included, in one process; here many slices at a time, the repair proven by destroying the good copy.)
 *
 * Prints its seed; `HITHER_E2E_SEED` repeats it.
 */
import { open, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { layoutFor } from '../../src/extent-store/device-layout.ts'
import { DiskClient, Refused } from './disk-client.ts'
import { ClusterProcess, chosenSeed, Dice, LONG, scratchFolder, TIMEOUT_MS } from './harness.ts'

const KiB = 1_024
const MiB = 1_024 * KiB
const SECTOR = 512
const DISK_BYTES = (LONG ? 16 : 6) * MiB
const DEVICE_BYTES = 64 * MiB
/** Two nodes and two copies: each node has all of it. */
const SETTINGS = ['--nodes', '2', '--ssd', '64MiB', '--hdd', '0', '--curator-interval', '0']
const FLIPS = LONG ? 300 : 120
const ROUNDS = LONG ? 12 : 2
const EIO = 5

it(
  'rotten bytes are healed from the other copy, copy after copy, and never served',
  async () => {
    const seed = chosenSeed()
    const dice = new Dice(seed)
    await using folder = await scratchFolder()
    const data = someData(dice)
    const image = join(folder.path, 'in.raw')
    await writeFile(image, data)
    {
      await using cluster = await ClusterProcess.start(folder.path, SETTINGS)
      await cluster.hither('disk', 'import', image, 'd', '--node', 'node-1')
      await cluster.stop()
    }

    let repaired = 0
    for (let round = 0; round < ROUNDS; round++) {
      const device = deviceOf(folder.path, `node-${1 + (round % 2)}`)
      await flip(device, pick(dice, await usedSectors(device), FLIPS), dice)
      await using cluster = await ClusterProcess.start(folder.path, SETTINGS)
      expect((await exported(cluster, folder.path)).equals(data)).toBe(true)
      const report = await cluster.curator()
      const { corruptSlices, repairedSlices, underReplicatedBytes } = await cluster.stats()
      expect(report.incomplete).toBeUndefined()
      expect(corruptSlices).toBeGreaterThan(FLIPS / 10)
      // One that is read twice before it is repaired counts twice as found.
      expect(repairedSlices).toBeGreaterThan(FLIPS / 10)
      expect(repairedSlices).toBeLessThanOrEqual(corruptSlices)
      expect(underReplicatedBytes).toBe(0)
      repaired += repairedSlices
      // Nothing is left to be found.
      await cluster.curator()
      expect((await cluster.stats()).corruptSlices).toBe(corruptSlices)
      await cluster.stop()
    }

    // All of one node rots: the other, damaged and repaired before, has everything.
    const first = deviceOf(folder.path, 'node-1')
    await flip(first, await usedSectors(first), dice)
    {
      await using cluster = await ClusterProcess.start(folder.path, SETTINGS)
      expect((await exported(cluster, folder.path)).equals(data)).toBe(true)
      await cluster.kill()
    }
    console.log(`${ROUNDS} × ${FLIPS} rotten bytes (seed ${seed}): ${repaired} bad slices written anew`)
  },
  TIMEOUT_MS,
)

it(
  'what is rotten on both nodes is refused, and the rest is right',
  async () => {
    const seed = chosenSeed()
    const dice = new Dice(seed)
    await using folder = await scratchFolder()
    const data = someData(dice)
    const image = join(folder.path, 'in.raw')
    await writeFile(image, data)
    {
      await using cluster = await ClusterProcess.start(folder.path, SETTINGS)
      await cluster.hither('disk', 'import', image, 'd', '--node', 'node-1')
      await cluster.stop()
    }
    // The part of the log that was written first holds data; the map's pages come last, and stay.
    for (const node of ['node-1', 'node-2']) {
      const device = deviceOf(folder.path, node)
      const used = await usedSectors(device)
      await flip(device, pick(dice, used.slice(0, used.length / 2), used.length / 16), dice)
    }

    await using cluster = await ClusterProcess.start(folder.path, [...SETTINGS, '--io-deadline', '3s'])
    const PIECE = 16 * KiB
    let refused = 0
    {
      using disk = await DiskClient.connect(cluster.uri('d'))
      for (let at = 0; at < DISK_BYTES; at += PIECE) {
        try {
          expect((await disk.read(at, PIECE)).equals(data.subarray(at, at + PIECE)), `at ${at}`).toBe(true)
        } catch (error) {
          if (!(error instanceof Refused)) throw error
          expect(error.errno).toBe(EIO)
          refused += PIECE
        }
      }
    }
    console.log(
      `both copies rotten (seed ${seed}): ${refused / KiB} of ${DISK_BYTES / KiB} KiB refused, the rest right`,
    )
    expect(refused).toBeGreaterThan(0)
    expect(refused).toBeLessThan(DISK_BYTES)
    const outcome = await cluster.tryHither('disk', 'export', 'd', join(folder.path, 'out.raw'), '--json')
    expect(outcome.code).toBe(1)
    expect(outcome.stderr).toContain('CHECKSUM_MISMATCH')
  },
  TIMEOUT_MS,
)

/** Noise and text in turns, so that there are raw and compressed slices. */
function someData(dice: Dice): Buffer {
  const data = dice.bytes(DISK_BYTES)
  for (let at = 0; at < DISK_BYTES; at += 128 * KiB) {
    data.fill(`some text, number ${at}, that compresses; `, at, at + 64 * KiB)
    // Not the same in every block, or dedupe would leave little of it.
    for (let block = at; block < at + 64 * KiB; block += 4 * KiB) dice.bytes(1 * KiB).copy(data, block)
  }
  return data
}

function deviceOf(folder: string, node: string): string {
  return join(folder, 'hither-data', node, 'ssd0')
}

/** Offsets of the sectors of a device's data area that hold anything. */
async function usedSectors(device: string): Promise<number[]> {
  const bytes = await readFile(device)
  const zeros = Buffer.alloc(SECTOR)
  const used: number[] = []
  for (let at = layoutFor(DEVICE_BYTES).areaOffset; at < bytes.length; at += SECTOR) {
    if (!bytes.subarray(at, at + SECTOR).equals(zeros)) used.push(at)
  }
  return used
}

function pick(dice: Dice, from: readonly number[], count: number): number[] {
  return Array.from({ length: count }, () => from[dice.below(from.length)]!)
}

/** Changes one byte in each of these sectors. */
async function flip(device: string, sectors: readonly number[], dice: Dice): Promise<void> {
  const file = await open(device, 'r+')
  try {
    const byte = Buffer.alloc(1)
    for (const sector of new Set(sectors)) {
      const at = sector + dice.below(SECTOR)
      await file.read(byte, 0, 1, at)
      byte[0]! ^= 1 + dice.below(255)
      await file.write(byte, 0, 1, at)
    }
  } finally {
    await file.close()
  }
}

async function exported(cluster: ClusterProcess, folder: string): Promise<Buffer> {
  const path = join(folder, 'out.raw')
  await rm(path, { force: true })
  await cluster.hither('disk', 'export', 'd', path)
  return await readFile(path)
}
