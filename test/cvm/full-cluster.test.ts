/**
 * A full cluster frees itself. Guards: user data is refused while there is still room for what gives space back (trims,
 * zeroes, snapshots, the checkpoints of a reclaim, a takeover); nothing that was acknowledged is lost by a refusal; even
 * when trims have used up their part of the reserve, a disk can be deleted and its space used again.
 */
import { expect, test } from 'vitest'
import { type Cluster, MiB, openCluster, type VDisk } from '../../src/index.ts'
import { seededRandom } from '../../src/platform/real/random.ts'

const STEP = MiB / 4
const NODES = ['node-1', 'node-2', 'node-3'] as const

function noise(seed: number, length: number): Uint8Array {
  const random = seededRandom(seed)
  const words = new Uint32Array(length / 4)
  for (let i = 0; i < words.length; i++) words[i] = random.u32()
  return new Uint8Array(words.buffer)
}

/** A disk, and what it must hold. */
class Filled {
  readonly disk: VDisk
  private readonly seed: number
  private steps = 0
  private readonly zeroed: Array<readonly [from: number, to: number]> = []

  constructor(disk: VDisk, seed: number) {
    this.disk = disk
    this.seed = seed
  }

  get bytes(): number {
    return this.steps * STEP
  }

  async writeOne(): Promise<void> {
    await this.disk.write(this.bytes, this.piece(this.steps))
    this.steps++
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.disk.writeZeroes(offset, length)
    this.zeroed.push([offset, offset + length])
  }

  async check(): Promise<void> {
    for (let step = 0; step < this.steps; step++) {
      const at = step * STEP
      const expected = this.piece(step)
      for (const [from, to] of this.zeroed) {
        expected.fill(0, Math.max(0, from - at), Math.max(0, Math.min(STEP, to - at)))
      }
      expect(Buffer.compare(await this.disk.read(at, STEP), expected)).toBe(0)
    }
  }

  private piece(step: number): Uint8Array {
    return noise(this.seed * 10_000 + step, STEP)
  }
}

function open(rf: 2 | 3): Promise<Cluster> {
  return openCluster('memory:', {
    nodes: NODES.length,
    rf,
    ssdBytes: 64 * MiB,
    hddBytes: 0,
    cacheBytes: 0,
    curatorIntervalMs: 0,
    leaseTtlMs: 20_000,
  })
}

/** A disk on each node, and one to delete; all written to in turn until each was refused. */
async function fill(cluster: Cluster, rf: 2 | 3): Promise<Filled[]> {
  await cluster.createContainer('c', { rf, minCopies: 2 })
  const disks: Filled[] = []
  for (const [i, node] of [...NODES, 'node-1'].entries()) {
    disks.push(
      new Filled(await cluster.createVDisk(`d${i}`, { size: 256 * MiB, node, container: 'c' }), i + 1),
    )
  }
  for (let left = [...disks]; left.length > 0; ) {
    for (const each of left) {
      const code = await each.writeOne().then(
        () => undefined,
        (error: { code: string }) => error.code,
      )
      if (code === undefined) continue
      expect(code).toBe('NO_SPACE')
      left = left.filter((other) => other !== each)
    }
  }
  return disks
}

const cases = [
  { name: 'RF2', rf: 2, down: undefined },
  { name: 'RF3', rf: 3, down: undefined },
  { name: 'RF2, a node down', rf: 2, down: 'node-3' },
  { name: 'RF3, a node down', rf: 3, down: 'node-2' },
] as const

test.each(cases)('full, and free again: $name', async ({ rf, down }) => {
  await using cluster = await open(rf)
  const disks = await fill(cluster, rf)
  const last = disks.pop()!
  if (down !== undefined) await cluster.failCvm(down)
  for (const each of [...disks, last]) {
    // A node tells what it has free four times a second: a little may have turned up since.
    await expect(
      (async () => {
        for (;;) await each.writeOne()
      })(),
    ).rejects.toMatchObject({ code: 'NO_SPACE' })
    await each.check()
  }
  for (const each of disks) {
    await each.zero(MiB, MiB)
    await each.zero(3 * MiB - 1000, 5000)
    await each.disk.snapshot('s')
  }
  await last.disk.close()
  await cluster.deleteVDisk(last.disk.name)
  const report = await cluster.runCurator()
  expect(report.reclaimedBytes).toBeGreaterThan(last.bytes)
  if (down === undefined) {
    expect(report.incomplete).toBeUndefined()
  } else {
    // What was freed went to the rebuild of what was on that node.
    await cluster.recoverCvm(down)
    await cluster.runCurator()
  }
  for (const each of disks) {
    await each.writeOne()
    await each.check()
  }
}, 60_000)

test('trims that have used up their reserve leave enough for a scan', async () => {
  await using cluster = await open(2)
  const disks = await fill(cluster, 2)
  const last = disks.pop()!
  const trims = async () => {
    for (;;) await disks[0]!.disk.trim(0, 4096)
  }
  await expect(trims()).rejects.toMatchObject({ code: 'NO_SPACE' })
  await last.disk.close()
  await cluster.deleteVDisk(last.disk.name)
  const report = await cluster.runCurator()
  expect(report.incomplete).toBeUndefined()
  expect(report.reclaimedBytes).toBeGreaterThan(last.bytes)
  await disks[0]!.writeOne()
}, 60_000)
