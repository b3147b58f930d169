/**
 * SIGKILL of the whole process while a client writes, trims and zeroes ranges of every size, with blocks that compress,
 * repeat and do neither. Guards: after a restart on the same data every acknowledged request is there, a request that
 * was under way is there or not, whole per 4 KiB block, and RF is full once the Curator ran.
 *
 * Prints its seed; `HITHER_E2E_SEED` repeats it. Three kills, in the long form twenty.
 */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { DiskClient, Refused } from './disk-client.ts'
import { ClusterProcess, chosenSeed, Dice, LONG, scratchFolder, TIMEOUT_MS } from './harness.ts'

const BLOCK = 4_096
const BLOCKS = 4_096
const RUN_MAX = 24
const IN_FLIGHT = 12
const ROUNDS = LONG ? 20 : 3
/** A version is which request last changed a block; this one is: none, or one that made it zeros. */
const ZEROS = 0

/** What each block of the disk holds, as far as its client can know. */
class Model {
  readonly #acknowledged = new Uint32Array(BLOCKS)
  /** Version that a request under way gives a block. */
  readonly #underWay = new Map<number, number>()
  acknowledgedRequests = 0
  unsureBlocks = 0

  /** Whether no request that is under way touches the range: two on one block would have no known order. */
  isFree(first: number, count: number): boolean {
    for (let block = first; block < first + count; block++) if (this.#underWay.has(block)) return false
    return true
  }

  sent(first: number, count: number, version: number): void {
    for (let block = first; block < first + count; block++) this.#underWay.set(block, version)
  }

  acknowledged(first: number, count: number): void {
    for (let block = first; block < first + count; block++) {
      this.#acknowledged[block] = this.#underWay.get(block)!
      this.#underWay.delete(block)
    }
    this.acknowledgedRequests++
  }

  /** Throws when the image is not what it may be. From then on the model knows what became of requests under way. */
  settle(image: Buffer): void {
    for (let block = 0; block < BLOCKS; block++) {
      const found = image.subarray(block * BLOCK, (block + 1) * BLOCK)
      const sure = this.#acknowledged[block]!
      const maybe = this.#underWay.get(block)
      if (maybe !== undefined) this.unsureBlocks++
      if (found.equals(contentOf(block, sure))) continue
      if (maybe === undefined || !found.equals(contentOf(block, maybe))) {
        throw new Error(`block ${block} holds neither version ${sure} nor ${maybe ?? 'another'}`)
      }
      this.#acknowledged[block] = maybe
    }
    this.#underWay.clear()
  }
}

it(
  `${ROUNDS} kills under mixed writes lose nothing that was acknowledged`,
  async () => {
    const seed = chosenSeed()
    const dice = new Dice(seed)
    const model = new Model()
    await using folder = await scratchFolder()
    for (let round = 0; round < ROUNDS; round++) {
      await using cluster = await ClusterProcess.start(folder.path, [
        ...['--nodes', '3', '--ssd', '512MiB', '--hdd', '0', '--curator-interval', '0'],
      ])
      if (round === 0) await cluster.hither('disk', 'create', 'd', '--size', `${BLOCKS * BLOCK}`)
      else model.settle(await exported(cluster, folder.path))
      using disk = await DiskClient.connect(cluster.uri('d', 1 + (round % 3)))
      const before = model.acknowledgedRequests
      const writing = writeUntilEnd(disk, model, dice)
      await sleep(300 + dice.below(1_200))
      await cluster.kill()
      await writing
      expect(model.acknowledgedRequests, `requests of round ${round}, seed ${seed}`).toBeGreaterThan(before)
    }
    await using cluster = await ClusterProcess.start(folder.path)
    model.settle(await exported(cluster, folder.path))
    await cluster.curator()
    expect((await cluster.stats()).underReplicatedBytes).toBe(0)
    model.settle(await exported(cluster, folder.path))
    await cluster.stop()
    console.log(
      `${ROUNDS} kills (seed ${seed}): ${model.acknowledgedRequests} acknowledged requests all there, ` +
        `${model.unsureBlocks} blocks under way whole`,
    )
  },
  TIMEOUT_MS,
)

/** Keeps requests in flight until the connection ends; each writer has one. */
async function writeUntilEnd(disk: DiskClient, model: Model, dice: Dice): Promise<void> {
  const writer = async (): Promise<void> => {
    for (;;) {
      let first: number
      let count: number
      do {
        count = 1 + dice.below(dice.below(3) === 0 ? RUN_MAX : 2)
        first = dice.below(BLOCKS - count)
      } while (!model.isFree(first, count))
      const kind = dice.below(10)
      const version = kind < 2 ? ZEROS : 1 + dice.below(0xffff_fffe)
      model.sent(first, count, version)
      if (kind === 0) await disk.trim(first * BLOCK, count * BLOCK)
      else if (kind === 1) await disk.writeZeroes(first * BLOCK, count * BLOCK)
      else await disk.write(first * BLOCK, rangeOf(first, count, version))
      model.acknowledged(first, count)
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: IN_FLIGHT }, writer))
  for (const end of ends) {
    if (end.status === 'rejected' && end.reason instanceof Refused) throw end.reason
  }
}

function rangeOf(first: number, count: number, version: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => contentOf(first + index, version)))
}

/** What `version` gives `block`: one in four is noise, one compresses well, one is a duplicate of others, one is both. */
function contentOf(block: number, version: number): Buffer {
  if (version === ZEROS) return Buffer.alloc(BLOCK)
  switch (version & 3) {
    case 0:
      return new Dice(version ^ block).bytes(BLOCK)
    case 1:
      return Buffer.alloc(BLOCK, `block ${block} of version ${version}\n`)
    case 2:
      return Buffer.alloc(BLOCK, `one of a few ${(version >>> 2) % 50}\n`)
    default: {
      const bytes = new Dice(version).bytes(BLOCK)
      bytes.fill(`${block} `, BLOCK / 2)
      return bytes
    }
  }
}

async function exported(cluster: ClusterProcess, folder: string): Promise<Buffer> {
  const path = join(folder, 'out.raw')
  await rm(path, { force: true })
  await cluster.hither('disk', 'export', 'd', path)
  return await readFile(path)
}
