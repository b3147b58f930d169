/**
 * Random sequences of every operation of the public API on a real four-node cluster, against a plain model: an array
 * of bytes per vDisk. Guards: no acknowledged write is lost and no read is stale, whatever CVMs fail, hang, return,
 * VMs move, snapshots are kept, clones diverge, ranges are trimmed, sizes change, the Curator runs, devices die, and
 * the cluster is closed and opened again. A failure prints seed, path and sequence; to replay it:
 *
 *   HITHER_MODEL_SEED=… HITHER_MODEL_PATH=… npx vitest run test/model -t memory
 *
 * HITHER_MODEL_RUNS sets the number of sequences.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Cluster,
  type CuratorReport,
  HitherError,
  MiB,
  openCluster,
  type VDisk,
} from '../../src/index.ts'

const DISK_BYTES = 3 * MiB
const SETTINGS = {
  nodes: 4,
  rf: 2,
  ssdBytes: 64 * MiB,
  hddBytes: 64 * MiB,
  leaseTtlMs: 400,
  holdDownMs: 50,
  curatorIntervalMs: 0,
  cacheBytes: 1 * MiB,
  mapBytes: 1 * MiB,
} as const

interface ModelDisk {
  bytes: Uint8Array
  handle: VDisk
  readonly vm: string
  readonly snapshots: Map<string, Uint8Array>
}

class World {
  cluster!: Cluster
  readonly disks = new Map<string, ModelDisk>()
  down: string | undefined
  private names = 0
  readonly location: string

  constructor(location: string) {
    this.location = location
  }

  async open(): Promise<void> {
    this.cluster = await openCluster(this.location, SETTINGS)
  }

  async create(): Promise<void> {
    const name = `disk-${++this.names}`
    const vm = `vm-${this.names}`
    const handle = await this.cluster.createVDisk(name, { size: DISK_BYTES, vm })
    this.disks.set(name, { bytes: new Uint8Array(DISK_BYTES), handle, vm, snapshots: new Map() })
  }

  pick(number: number): [string, ModelDisk] {
    const all = [...this.disks]
    return all[number % all.length]!
  }

  nextName(): string {
    return `clone-${++this.names}`
  }

  async verify(disk: ModelDisk, offset: number, length: number): Promise<void> {
    const found = await disk.handle.read(offset, length)
    const at = firstDifference(found, disk.bytes.subarray(offset, offset + length))
    if (at >= 0) throw new Error(`${disk.handle.name} differs at byte ${offset + at}`)
  }

  async verifyAll(): Promise<void> {
    for (const disk of this.disks.values()) {
      expect(disk.handle.size).toBe(disk.bytes.length)
      await this.verify(disk, 0, disk.bytes.length)
    }
  }

  /** One node at a time may be lost, and the next only when RF is full again: that is what RF2 promises. */
  async fail(node: string, hang: boolean): Promise<void> {
    if (this.down !== undefined) return
    if (this.cluster.stats().underReplicatedBytes > 0) await scanned(this.cluster)
    this.down = node
    await this.cluster.failCvm(node, { hang })
  }

  async recover(): Promise<void> {
    if (this.down === undefined) return
    await this.cluster.recoverCvm(this.down)
    this.down = undefined
  }

  async reopen(): Promise<void> {
    await this.cluster.close()
    await this.open()
    this.down = undefined
    for (const [name, disk] of this.disks) disk.handle = await this.cluster.openVDisk(name)
  }
}

interface Step {
  readonly run: (world: World) => Promise<void>
  readonly toString: () => string
}

const step = (text: string, run: (world: World) => Promise<void>): Step => ({ run, toString: () => text })

/** Bytes with repeats (deduplicated), zero runs, text (compressed) and noise, from one number. */
function contents(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = (seed * 2654435761 + 1) >>> 0
  const kind = seed % 4
  for (let i = 0; i < length; i++) {
    if (kind === 0 && Math.floor(i / 4096) % 2 === 0) continue
    if (kind === 1) bytes[i] = 65 + (Math.floor(i / 7) % 20)
    else if (kind === 2) bytes[i] = (i % 4096) ^ (seed % 3)
    else {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      bytes[i] = state >>> 24
    }
  }
  return bytes
}

const anyDisk = fc.nat({ max: 1000 })
const offset = fc.oneof(
  fc.nat({ max: DISK_BYTES / 4096 - 1 }).map((block) => block * 4096),
  fc.nat({ max: DISK_BYTES - 1 }),
)
const length = fc.oneof(fc.constantFrom(1, 512, 4096, 8192, 65_536), fc.integer({ min: 1, max: 400_000 }))
const node = fc.integer({ min: 1, max: 4 }).map((number) => `node-${number}`)

const clip = (disk: ModelDisk, at: number, wanted: number): [number, number] => {
  const from = Math.min(at, disk.bytes.length - 1)
  return [from, Math.min(wanted, disk.bytes.length - from)]
}

const write = fc.record({ disk: anyDisk, offset, length, seed: fc.nat(), fua: fc.boolean() }).map((w) =>
  step(`write ${JSON.stringify(w)}`, async (world) => {
    const [, disk] = world.pick(w.disk)
    const [from, size] = clip(disk, w.offset, w.length)
    const bytes = contents(w.seed, size)
    await disk.handle.write(from, bytes, { fua: w.fua })
    disk.bytes.set(bytes, from)
  }),
)

/** Writes that overlap in time but not in place, over a CVM failure. */
const burst = fc.record({ disk: anyDisk, seed: fc.nat(), fail: fc.boolean(), hang: fc.boolean() }).map((b) =>
  step(`burst ${JSON.stringify(b)}`, async (world) => {
    const [name, disk] = world.pick(b.disk)
    const count = Math.min(24, Math.floor(disk.bytes.length / 50_000))
    const writes = Array.from({ length: count }, (_, i) => {
      const bytes = contents(b.seed + i, 20_000 + (i % 3) * 10_000)
      disk.bytes.set(bytes, i * 50_000 + 777)
      return disk.handle.write(i * 50_000 + 777, bytes)
    })
    if (b.fail) await world.fail((await world.cluster.vdiskInfo(name)).owner, b.hang)
    await Promise.all(writes)
  }),
)

const erase = fc.record({ disk: anyDisk, offset, length, zeroes: fc.boolean() }).map((e) =>
  step(`erase ${JSON.stringify(e)}`, async (world) => {
    const [, disk] = world.pick(e.disk)
    const [from, size] = clip(disk, e.offset, e.length)
    await (e.zeroes ? disk.handle.writeZeroes(from, size) : disk.handle.trim(from, size))
    disk.bytes.fill(0, from, from + size)
  }),
)

const read = fc.record({ disk: anyDisk, offset, length }).map((r) =>
  step(`read ${JSON.stringify(r)}`, async (world) => {
    const [, disk] = world.pick(r.disk)
    const [from, size] = clip(disk, r.offset, r.length)
    await world.verify(disk, from, size)
  }),
)

const allocation = fc.record({ disk: anyDisk }).map((a) =>
  step(`allocation ${JSON.stringify(a)}`, async (world) => {
    const [, disk] = world.pick(a.disk)
    let at = 0
    for (const run of await disk.handle.allocation(0, disk.bytes.length)) {
      expect(run.offset).toBe(at)
      at += run.length
      // What is said to be a hole must read as zeros; data may be zeros too.
      if (!run.data) expect(disk.bytes.subarray(run.offset, at).every((byte) => byte === 0)).toBe(true)
    }
    expect(at).toBe(disk.bytes.length)
  }),
)

const fail = fc
  .record({ node, hang: fc.boolean() })
  .map((f) => step(`fail ${JSON.stringify(f)}`, (world) => world.fail(f.node, f.hang)))

const recover = fc.constant(step('recover', (world) => world.recover()))

const move = fc.record({ disk: anyDisk, node }).map((m) =>
  step(`move ${JSON.stringify(m)}`, async (world) => {
    const [, disk] = world.pick(m.disk)
    await world.cluster.migrateVm(disk.vm, { to: m.node })
  }),
)

const snapshot = fc.record({ disk: anyDisk, name: fc.constantFrom('a', 'b', 'c') }).map((s) =>
  step(`snapshot ${JSON.stringify(s)}`, async (world) => {
    const [name, disk] = world.pick(s.disk)
    if (disk.snapshots.has(s.name)) {
      await world.cluster.deleteSnapshot(name, s.name)
      disk.snapshots.delete(s.name)
    } else {
      await disk.handle.snapshot(s.name)
      disk.snapshots.set(s.name, disk.bytes.slice())
    }
  }),
)

const clone = fc.record({ disk: anyDisk, name: fc.constantFrom('a', 'b', 'c', undefined) }).map((c) =>
  step(`clone ${JSON.stringify(c)}`, async (world) => {
    const [name, disk] = world.pick(c.disk)
    const kept = c.name === undefined ? disk.bytes : disk.snapshots.get(c.name)
    if (kept === undefined || world.disks.size >= 5) return
    const cloneName = world.nextName()
    const vm = `vm-of-${cloneName}`
    const from = c.name === undefined ? {} : { snapshot: c.name }
    const handle = await world.cluster.cloneVDisk(name, cloneName, { ...from, vm })
    world.disks.set(cloneName, { bytes: kept.slice(), handle, vm, snapshots: new Map() })
  }),
)

const remove = fc.record({ disk: anyDisk }).map((r) =>
  step(`remove ${JSON.stringify(r)}`, async (world) => {
    if (world.disks.size < 2) return
    const [name, disk] = world.pick(r.disk)
    await disk.handle.close()
    await world.cluster.deleteVDisk(name)
    world.disks.delete(name)
  }),
)

const resize = fc
  .record({ disk: anyDisk, size: fc.integer({ min: 100_000, max: 2 * DISK_BYTES }) })
  .map((r) =>
    step(`resize ${JSON.stringify(r)}`, async (world) => {
      const [, disk] = world.pick(r.disk)
      const kept = disk.bytes.subarray(0, Math.min(r.size, disk.bytes.length))
      const cutsData = disk.bytes.subarray(kept.length).some((byte) => byte !== 0)
      if (cutsData) {
        // Without consent nothing is cut off.
        await expect(disk.handle.resize(r.size)).rejects.toMatchObject({ code: 'UNSAFE' })
      }
      await disk.handle.resize(r.size, { discardData: true })
      const bytes = new Uint8Array(r.size)
      bytes.set(kept)
      disk.bytes = bytes
    }),
  )

const curator = fc.constant(
  step('curator', async (world) => {
    await scanned(world.cluster)
  }),
)

const reopen = fc.constant(step('reopen', (world) => world.reopen()))

const flush = fc
  .record({ disk: anyDisk })
  .map((f) => step(`flush ${JSON.stringify(f)}`, (world) => world.pick(f.disk)[1].handle.flush()))

const anyStep = (withReopen: boolean) =>
  fc.oneof(
    { weight: 10, arbitrary: write },
    { weight: 4, arbitrary: burst },
    { weight: 4, arbitrary: erase },
    { weight: 4, arbitrary: read },
    { weight: 1, arbitrary: allocation },
    { weight: 2, arbitrary: fail },
    { weight: 4, arbitrary: recover },
    { weight: 3, arbitrary: move },
    { weight: 3, arbitrary: snapshot },
    { weight: 3, arbitrary: clone },
    { weight: 1, arbitrary: remove },
    { weight: 2, arbitrary: resize },
    { weight: 3, arbitrary: curator },
    { weight: 1, arbitrary: flush },
    { weight: withReopen ? 2 : 0, arbitrary: reopen },
  )

async function runSteps(location: string, steps: readonly Step[]): Promise<void> {
  const world = new World(location)
  await world.open()
  try {
    await world.create()
    await world.create()
    for (const each of steps) await each.run(world)
    await world.verifyAll()
    await world.recover()
    const report = await scanned(world.cluster)
    // A CVM that has just come back may put a reclaim off; RF must be full all the same.
    if (report.incomplete !== undefined) await scanned(world.cluster)
    expect(world.cluster.stats().underReplicatedBytes).toBe(0)
    await world.verifyAll()
  } finally {
    await world.cluster.close()
  }
}

/** On a busy machine the CVM that scans may lose its short lease: then another scan is asked for. */
async function scanned(cluster: Cluster): Promise<CuratorReport> {
  for (let triesLeft = 5; ; triesLeft--) {
    try {
      return await cluster.runCurator()
    } catch (error) {
      if (!(error instanceof HitherError) || error.code !== 'CVM_DOWN' || triesLeft === 0) throw error
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
}

function firstDifference(a: Uint8Array, b: Uint8Array): number {
  if (Buffer.compare(a, b) === 0) return -1
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return i
  return Math.min(a.length, b.length)
}

/** From the environment: how many sequences, or which one. */
function parameters(short: number): fc.Parameters<[Step[]]> {
  const { HITHER_MODEL_RUNS: runs, HITHER_MODEL_SEED: seed, HITHER_MODEL_PATH: path } = process.env
  return {
    numRuns: Number(runs ?? short),
    endOnFailure: true,
    ...(seed === undefined ? {} : { seed: Number(seed) }),
    ...(path === undefined ? {} : { path }),
  }
}

test('memory: random operations and failures leave what the model says', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep(false), { minLength: 5, maxLength: 50 }), (steps) =>
      runSteps('memory:', steps),
    ),
    parameters(12),
  )
}, 600_000)

test('file: the same with closing and opening again in between', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep(true), { minLength: 5, maxLength: 40 }), async (steps) => {
      const folder = await mkdtemp(join(tmpdir(), 'hither-model-'))
      try {
        await runSteps(`file:${folder}`, steps)
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    }),
    parameters(6),
  )
}, 600_000)

test('errors of the public API have codes', async () => {
  await using cluster = await openCluster('memory:', { nodes: 2, ssdBytes: 64 * MiB, hddBytes: 0 })
  const disk = await cluster.createVDisk('a', { size: 1 * MiB })
  const code = async (work: Promise<unknown>) => {
    const error = await work.then(
      () => undefined,
      (reason: unknown) => reason,
    )
    return error instanceof HitherError ? error.code : error
  }
  expect(await code(cluster.createVDisk('a', { size: 1 * MiB }))).toBe('ALREADY_EXISTS')
  expect(await code(cluster.createVDisk('b', { size: 0 }))).toBe('BAD_ARGUMENT')
  expect(await code(cluster.createVDisk('x/y', { size: 4096 }))).toBe('BAD_ARGUMENT')
  expect(await code(cluster.openVDisk('nope'))).toBe('NOT_FOUND')
  expect(await code(disk.read(1 * MiB, 1))).toBe('OUT_OF_RANGE')
  expect(await code(disk.write(-1, new Uint8Array(1)))).toBe('BAD_ARGUMENT')
  expect(await code(cluster.deleteVDisk('a'))).toBe('IN_USE')
  expect(await code(cluster.migrateVm('nope', { to: 'node-1' }))).toBe('NOT_FOUND')
  expect(await code(cluster.failCvm('node-9'))).toBe('NOT_FOUND')
  expect(await code(openCluster('http://x'))).toBe('BAD_LOCATION')
  expect(await code(openCluster('memory:', { nodes: 1, rf: 2 }))).toBe('BAD_SETTING')
  await disk.close()
  expect(await code(disk.read(0, 1))).toBe('VDISK_CLOSED')
})
