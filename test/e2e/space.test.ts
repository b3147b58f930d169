/**
 * A full cluster. Guards: writes end with ENOSPC at the door before anything breaks; all that was acknowledged reads
 * back, and the cluster goes on; deleting and one run of the Curator give the space back.
 */
import { expect, it } from 'vitest'
import { DiskClient, Refused } from './disk-client.ts'
import { ClusterProcess, chosenSeed, Dice, LONG, scratchFolder, TIMEOUT_MS } from './harness.ts'

const KiB = 1_024
const MiB = 1_024 * KiB
const PIECE = 256 * KiB
const IN_FLIGHT = 8
const ENOSPC = 28

it(
  'says ENOSPC when it is full, keeps what it acknowledged, and has its space back after a delete',
  async () => {
    const seed = chosenSeed()
    await using folder = await scratchFolder()
    const tiers = LONG ? ['--ssd', '96MiB', '--hdd', '96MiB'] : ['--ssd', '64MiB', '--hdd', '0']
    // Three nodes, two copies. Reserves and tables of such small devices take their part of it.
    const roomBytes = (LONG ? 3 * 192 : 3 * 64) * MiB
    const enough = 0.35 * roomBytes
    await using cluster = await ClusterProcess.start(folder.path, [
      ...['--nodes', '3', ...tiers, '--curator-interval', '0'],
    ])
    await cluster.hither('disk', 'create', 'big', '--size', '1GiB')
    const written = await fill(cluster.uri('big'), seed)
    const full = await cluster.stats()
    console.log(
      `full after ${written.size * (PIECE / MiB)} MiB (seed ${seed}); stored ${mib(full.storedBytes)} MiB of ${mib(roomBytes)}`,
    )
    expect(written.size * PIECE).toBeGreaterThan(enough)
    expect(full.underReplicatedBytes).toBe(0)
    await expectWritten(cluster.uri('big', 2), seed, written)

    // A restart of the full cluster changes nothing.
    await cluster.stop()
    await using again = await ClusterProcess.start(folder.path, ['--curator-interval', '0'])
    await expectWritten(again.uri('big'), seed, written)

    await again.hither('disk', 'rm', 'big')
    await again.curator()
    const freed = await again.stats()
    console.log(`after deleting it: stored ${mib(freed.storedBytes)} MiB`)
    expect(freed.logicalBytes).toBe(0)
    expect(freed.storedBytes).toBeLessThan(1 * MiB)

    await again.hither('disk', 'create', 'next', '--size', '1GiB')
    const next = await fill(again.uri('next'), seed + 1)
    expect(next.size * PIECE).toBeGreaterThan(enough)
    await expectWritten(again.uri('next', 3), seed + 1, next)
  },
  // It fills and reads three clusters' worth: on a machine with other work this takes several times as long.
  3 * TIMEOUT_MS,
)

function mib(bytes: number): string {
  return (bytes / MiB).toFixed(1)
}

/** Writes pieces one behind the other until the door says ENOSPC; the numbers of those that were acknowledged. */
async function fill(uri: string, seed: number): Promise<Set<number>> {
  using disk = await DiskClient.connect(uri)
  const written = new Set<number>()
  let next = 0
  let full = false
  const writer = async (): Promise<void> => {
    while (!full) {
      const piece = next++
      try {
        await disk.write(piece * PIECE, contentOf(seed, piece))
        written.add(piece)
      } catch (error) {
        expect(error).toBeInstanceOf(Refused)
        expect((error as Refused).errno).toBe(ENOSPC)
        full = true
      }
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, writer))
  return written
}

async function expectWritten(uri: string, seed: number, written: ReadonlySet<number>): Promise<void> {
  using disk = await DiskClient.connect(uri)
  for (const piece of written) {
    const bytes = await disk.read(piece * PIECE, PIECE)
    expect(bytes.equals(contentOf(seed, piece)), `piece ${piece}`).toBe(true)
  }
}

/** Noise that nothing makes smaller: the same for all pieces of a seed, but for a stamp in every block. */
function contentOf(seed: number, piece: number): Buffer {
  const noise = noises.get(seed) ?? new Dice(seed).bytes(PIECE)
  noises.set(seed, noise)
  const bytes = Buffer.from(noise)
  for (let at = 0; at < PIECE; at += 4 * KiB) bytes.writeUInt32LE(piece, at)
  return bytes
}

const noises = new Map<number, Buffer>()
