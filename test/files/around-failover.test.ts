/**
 * What stays true while the CVM that serves a file system dies and comes back: listings go on from their cookies, handles
 * of removed files are stale, writes that were acknowledged are there, one file takes many writers through promotion.
 */
import { afterEach, describe, expect, test } from 'vitest'
import type { FileSystem } from '../../src/api.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { openSimCluster, type SimCluster } from '../../src/sim/cluster.ts'
import { contentOf } from './walk.ts'

const ROOT = 1
const bytes = (text: string) => Buffer.from(text)
const settings = { nodes: 3, ssdBytes: 256 * MiB, hddBytes: 0, leaseTtlMs: 500, holdDownMs: 1000 }

let sim: SimCluster

afterEach(() => sim.close())

async function open(seed: number): Promise<FileSystem[]> {
  sim = await openSimCluster({ seed, settings })
  return Promise.all(sim.cluster.nodes.map((node) => sim.cluster.files(node).fileSystem('default')))
}

/** Node whose CVM owns the files disk. */
function server(): string {
  for (const node of sim.cluster.nodes) {
    for (const vdisk of sim.cvm(node)?.ownership.owned() ?? []) {
      if (vdisk.name === '.files/default') return node
    }
  }
  throw new Error('nobody serves the files')
}

/** The CVM that owns such a vDisk stops answering. */
async function hangOwnerOf(prefix: string): Promise<string> {
  for (const node of sim.cluster.nodes) {
    for (const vdisk of sim.cvm(node)?.ownership.owned() ?? []) {
      if (!vdisk.name.startsWith(prefix)) continue
      await sim.cluster.failCvm(node, { hang: true })
      return node
    }
  }
  throw new Error(`nobody serves ${prefix}`)
}

async function replaceServer(): Promise<void> {
  const node = server()
  await sim.cluster.failCvm(node)
  await sim.cluster.recoverCvm(node)
}

describe('around a failover', () => {
  test('a listing goes on from its cookie at the next CVM, past what was added and removed', async () => {
    const [fs] = await open(1)
    for (let i = 0; i < 20; i++) await fs!.createFile(ROOT, bytes(`f${i}`), {}, { how: 'guarded' })
    const first = await fs!.list(ROOT, 0, 10)
    expect(first.end).toBe(false)
    await fs!.remove(ROOT, bytes('f3'))
    await fs!.remove(ROOT, bytes('f12'))
    await fs!.createFile(ROOT, bytes('late'), {}, { how: 'guarded' })
    await replaceServer()
    const rest = await fs!.list(ROOT, first.entries.at(-1)!.cookie, 100)
    expect(rest.entries.map((entry) => Buffer.from(entry.name).toString())).toEqual([
      'f10',
      'f11',
      ...[13, 14, 15, 16, 17, 18, 19].map((i) => `f${i}`),
      'late',
    ])
    expect(rest.end).toBe(true)
  })

  test('the handle of a removed file stays stale, and its number is never another file', async () => {
    const [fs, other] = await open(2)
    const { file } = await fs!.createFile(ROOT, bytes('x'), {}, { how: 'guarded' })
    await fs!.remove(ROOT, bytes('x'))
    await replaceServer()
    const { file: next } = await other!.createFile(ROOT, bytes('x'), {}, { how: 'guarded' })
    expect(next.id).toBeGreaterThan(file.id)
    expect(next.birth).not.toBe(file.birth)
    await expect(fs!.getAttributes(file.id, file.birth)).rejects.toMatchObject({ code: 'FILE_STALE' })
    await expect(fs!.getAttributes(next.id, file.birth)).rejects.toMatchObject({ code: 'FILE_STALE' })
    await expect(fs!.write(file.id, 0, bytes('y'))).rejects.toMatchObject({ code: 'FILE_STALE' })
  })

  test('many writers of one file, through its promotion and two failovers: every byte is there', async () => {
    const hosts = await open(3)
    const { file } = await hosts[0]!.createFile(ROOT, bytes('shared'), {}, { how: 'guarded' })
    const piece = 16 * KiB
    const count = 96
    let next = 0
    const writer = async (fs: FileSystem) => {
      while (next < count) {
        const at = next++
        await fs.write(file.id, at * piece, Buffer.alloc(piece, at + 1))
        if (at === 20 || at === 60) await replaceServer().catch(() => {})
      }
    }
    await Promise.all([...hosts, ...hosts].map(writer))
    const content = await contentOf(hosts[1]!, file.id, count * piece)
    for (let at = 0; at < count; at++) {
      const part = content.subarray(at * piece, (at + 1) * piece)
      expect(
        part.every((byte) => byte === at + 1),
        `piece ${at}`,
      ).toBe(true)
    }
    expect((await hosts[2]!.getAttributes(file.id)).size).toBe(count * piece)
  })

  test('a file that was cut shows zeros when it grows, small or large', async () => {
    const [fs] = await open(4)
    for (const [text, size] of [
      ['small', 40 * KiB],
      ['large', 3 * MiB],
    ] as const) {
      const { file } = await fs!.createFile(ROOT, bytes(text), {}, { how: 'guarded' })
      await fs!.write(file.id, 0, Buffer.alloc(size, 7))
      await fs!.setAttributes(file.id, { size: 1000 })
      await replaceServer()
      await fs!.setAttributes(file.id, { size })
      const content = await contentOf(fs!, file.id, size)
      expect(content.subarray(0, 1000).every((byte) => byte === 7)).toBe(true)
      expect(content.subarray(1000).every((byte) => byte === 0)).toBe(true)
    }
  })

  test('everything is there after all nodes lost their power at once', async () => {
    const [fs] = await open(5)
    const { file: dir } = await fs!.createDirectory(ROOT, bytes('dir'), { mode: 0o711 })
    const { file } = await fs!.createFile(dir.id, bytes('data'), { mode: 0o640, uid: 7 }, { how: 'guarded' })
    await fs!.write(file.id, 0, Buffer.alloc(200 * KiB, 3))
    await fs!.write(file.id, 1 * MiB, Buffer.alloc(10, 4))
    await sim.losePower(sim.cluster.nodes)
    await Promise.all(sim.cluster.nodes.map((node) => sim.cluster.recoverCvm(node)))
    const found = await fs!.lookup(dir.id, bytes('data'))
    expect(found.file).toMatchObject({
      id: file.id,
      birth: file.birth,
      mode: 0o640,
      uid: 7,
      size: 1 * MiB + 10,
    })
    expect(found.directory).toMatchObject({ id: dir.id, mode: 0o711 })
    const content = await contentOf(fs!, file.id, 1 * MiB + 10)
    expect(content.subarray(0, 200 * KiB).every((byte) => byte === 3)).toBe(true)
    expect(content.subarray(1 * MiB).every((byte) => byte === 4)).toBe(true)
  })

  test.each([
    ['small', 0],
    ['large', 4 * MiB],
  ])('a write that nobody waits for any more is not tried again: %s', async (name, at) => {
    const [fs, other] = await open(9)
    const { file } = await fs!.createFile(ROOT, bytes(name), {}, { how: 'guarded' })
    await fs!.write(file.id, at, bytes('before'))
    for (const isAwaited of [true, false]) {
      // It stops answering with the write under way; the next attempt goes to its successor.
      const failed = await hangOwnerOf(name === 'small' ? '.files/' : '.file/')
      let left = false
      const late = fs!.write(file.id, at, bytes('late !'), { isAwaited: () => isAwaited || !left })
      const end = late.then(
        () => 'done',
        (error: { code: string }) => error.code,
      )
      await sim.world.clock.sleep(20)
      left = true
      expect(await end).toBe(isAwaited ? 'done' : 'CANCELLED')
      const found = await contentOf(other!, file.id, at + 6)
      expect(found.subarray(at).toString()).toBe(isAwaited ? 'late !' : 'before')
      await fs!.write(file.id, at, bytes('before'))
      await sim.cluster.recoverCvm(failed)
      await sim.world.clock.sleep(3000)
    }
  })

  test('a file that is created with a size is there whole or not at all', async () => {
    const [fs, other] = await open(8)
    await fs!.getAttributes(ROOT)
    const key = { high: 1, low: 1 }
    const create = () => fs!.createFile(ROOT, bytes('big'), { size: 5 * MiB }, { how: 'guarded', key })
    const made = create()
    // Its vDisk is made; meanwhile other changes are committed, and then the CVM dies.
    const hasDisk = async () =>
      (await sim.world.catalog.list('name/')).some((entry) => entry.key.startsWith('name/.file/'))
    for (let i = 0; !(await hasDisk()); i++) await other!.createDirectory(ROOT, bytes(`d${i}`), {})
    await replaceServer()
    const { file, directory } = await made
    expect(file).toMatchObject({ size: 5 * MiB, links: 1 })
    expect(await create()).toEqual({ file, directory })
    expect((await other!.lookup(ROOT, bytes('big'))).file.id).toBe(file.id)
    await sim.world.clock.sleep(1000)
    // Of the vDisks that were made for it one is left.
    const disks = (await sim.world.catalog.list('name/')).filter(({ key: name }) => name.includes('.file/'))
    expect(disks).toHaveLength(1)
  })

  test('what a crash left of a promotion goes when the file system is loaded next', async () => {
    const [fs] = await open(6)
    await fs!.getAttributes(ROOT)
    const node = server()
    const generation = sim.cvm(node)!.ownership.get(1)?.generation ?? 1
    // As an owner would have that ended before the file got it.
    const { Administration } = await import('../../src/cvm/administration.ts')
    const administration = new Administration({
      catalog: sim.world.catalog,
      random: sim.world.random,
      control: () => Promise.reject(new Error('not asked')),
      handOver: () => Promise.reject(new Error('not asked')),
    })
    const id = await administration.createHiddenVDisk(`.file/default/${generation}.9.1`, { size: 1 * MiB })
    await replaceServer()
    await fs!.getAttributes(ROOT)
    await sim.world.clock.sleep(1000)
    expect(await sim.world.catalog.get(`vdisk/${id}`)).toBeUndefined()
  })

  test('the vDisk of a file goes to the host that uses it, and not to and fro', async () => {
    const hosts = await open(7)
    const { file } = await hosts[0]!.createFile(ROOT, bytes('vm.img'), {}, { how: 'guarded' })
    await hosts[0]!.write(file.id, 4 * MiB, bytes('x'))
    const owner = async () => (await sim.cluster.vdiskInfo('default/vm.img')).owner
    const use = async (fs: FileSystem) => {
      for (let i = 0; i < 80; i++) await fs.write(file.id, i * 4096, Buffer.alloc(4096, i))
      await sim.world.clock.sleep(200)
    }
    expect(await owner()).toBe('node-1')
    await use(hosts[1]!)
    expect(await owner()).toBe('node-2')
    await use(hosts[0]!)
    expect(await owner()).toBe('node-2')
    await sim.world.clock.sleep(31_000)
    await use(hosts[0]!)
    expect(await owner()).toBe('node-1')
  })
})
