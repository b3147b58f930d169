/** The file system of a container through the public API: what every operation does, and how it fails. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Cluster, FileSystem } from '../../src/api.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { openCluster } from '../../src/index.ts'

const ROOT = 1
const name = (text: string) => Buffer.from(text)

let cluster: Cluster
let fs: FileSystem

beforeAll(async () => {
  cluster = await openCluster('memory:', { nodes: 3, ssdBytes: 512 * MiB, hddBytes: 0 })
  fs = await cluster.files('node-1').fileSystem('default')
})

afterAll(() => cluster.close())

async function make(text: string, bytes?: Uint8Array, directory = ROOT): Promise<number> {
  const { file } = await fs.createFile(directory, name(text), {}, { how: 'guarded' })
  if (bytes !== undefined) await fs.write(file.id, 0, bytes)
  return file.id
}

async function content(file: number, length: number, on = fs): Promise<Buffer> {
  const target = Buffer.alloc(length)
  const { length: got } = await on.read(file, 0, target)
  return target.subarray(0, got)
}

async function names(directory: number, on = fs): Promise<string[]> {
  const { entries } = await on.list(directory, 0, 1000)
  return entries.map((entry) => Buffer.from(entry.name).toString())
}

describe('files of a container', () => {
  test('a small file is written, read, grown past a gap and cut', async () => {
    const file = await make('small', Buffer.from('hello'))
    expect(await content(file, 100)).toEqual(Buffer.from('hello'))
    await fs.write(file, 10, Buffer.from('there'))
    expect(await content(file, 100)).toEqual(Buffer.from('hello\0\0\0\0\0there'))
    await fs.setAttributes(file, { size: 3 })
    await fs.setAttributes(file, { size: 12 })
    expect(await content(file, 100)).toEqual(Buffer.from('hel\0\0\0\0\0\0\0\0\0'))
  })

  test('a file that grows past 1 MiB keeps its bytes, and is the same on every host', async () => {
    const start = Buffer.alloc(60 * KiB, 1)
    const file = await make('large', start)
    const more = Buffer.alloc(1 * MiB, 2)
    await fs.write(file, 60 * KiB, more)
    const other = await cluster.files('node-3').fileSystem('default')
    expect((await other.getAttributes(file)).size).toBe(60 * KiB + 1 * MiB)
    expect((await content(file, 2 * MiB, other)).equals(Buffer.concat([start, more]))).toBe(true)
    await other.setAttributes(file, { size: 50 * KiB })
    await other.setAttributes(file, { size: 1 * MiB })
    const cut = await content(file, 2 * MiB, other)
    expect(cut.subarray(0, 50 * KiB).equals(start.subarray(0, 50 * KiB))).toBe(true)
    expect(cut.subarray(50 * KiB).every((byte) => byte === 0)).toBe(true)
  })

  test('directories, links and names', async () => {
    const { file: dir } = await fs.createDirectory(ROOT, name('dir'), { mode: 0o700 })
    expect(dir.mode).toBe(0o700)
    const file = await make('a', Buffer.from('x'), dir.id)
    await fs.link(file, dir.id, name('b'))
    const { file: link } = await fs.createSymlink(dir.id, name('s'), name('a'), {})
    expect(Buffer.from((await fs.readLink(link.id)).target).toString()).toBe('a')
    expect(await names(dir.id)).toEqual(['a', 'b', 's'])
    expect((await fs.getAttributes(file)).links).toBe(2)
    await fs.rename(dir.id, name('a'), dir.id, name('s'))
    expect(await names(dir.id)).toEqual(['b', 's'])
    await expect(fs.readLink(link.id)).rejects.toMatchObject({ code: 'FILE_STALE' })
    await expect(fs.removeDirectory(ROOT, name('dir'))).rejects.toMatchObject({ code: 'NOT_EMPTY' })
    await expect(fs.rename(ROOT, name('dir'), dir.id, name('x'))).rejects.toMatchObject({
      code: 'BAD_ARGUMENT',
    })
    await fs.remove(dir.id, name('b'))
    await fs.remove(dir.id, name('s'))
    await expect(fs.getAttributes(file)).rejects.toMatchObject({ code: 'FILE_STALE' })
    await fs.removeDirectory(ROOT, name('dir'))
    await expect(fs.list(dir.id, 0, 10)).rejects.toMatchObject({ code: 'FILE_STALE' })
  })

  test('a disk is a file, and a file that is removed is no disk any more', async () => {
    const disk = await cluster.createVDisk('vm-disk', { size: 1 * MiB })
    await disk.write(0, Buffer.from('boot'))
    const { file } = await fs.lookup(ROOT, name('vm-disk'))
    expect(file.size).toBe(1 * MiB)
    expect(await content(file.id, 4)).toEqual(Buffer.from('boot'))
    await fs.write(file.id, 4096, Buffer.from('data'))
    expect(Buffer.from(await disk.read(4096, 4)).toString()).toBe('data')
    await disk.close()
    await fs.remove(ROOT, name('vm-disk'))
    expect((await cluster.listVDisks()).map((info) => info.name)).not.toContain('vm-disk')
  })
})

test('a disk that is deleted takes its file along', async () => {
  await (await cluster.createVDisk('short-lived', { size: 1 * MiB })).close()
  const { file } = await fs.lookup(ROOT, name('short-lived'))
  await cluster.deleteVDisk('short-lived')
  await vi.waitFor(async () => {
    await expect(fs.lookup(ROOT, name('short-lived'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
  await expect(fs.getAttributes(file.id)).rejects.toMatchObject({ code: 'FILE_STALE' })
})

describe('files as disks', () => {
  test('a file opens as a disk by its path, and both see what the other writes', async () => {
    const { file: dir } = await fs.createDirectory(ROOT, name('images'), {})
    const file = await make('vm.img', Buffer.from('small'), dir.id)
    const disk = await cluster.path('node-2').openVDisk('default/images/vm.img')
    await expect(disk.snapshot('s')).rejects.toMatchObject({ code: 'BAD_ARGUMENT' })
    expect(disk.size).toBe(5)
    expect(Buffer.from(await disk.read(0, 5)).toString()).toBe('small')
    await disk.resize(2 * MiB)
    await disk.write(1 * MiB, Buffer.from('far'))
    expect((await content(file, 3 * MiB)).subarray(1 * MiB, 1 * MiB + 3).toString()).toBe('far')
    await disk.close()
    const listed = await cluster.listVDisks()
    expect(listed.map((info) => [info.name, info.size])).toContainEqual(['default/images/vm.img', 2 * MiB])
    expect(listed.filter((info) => info.name.startsWith('.'))).toEqual([])
    await cluster.deleteVDisk('default/images/vm.img')
    await expect(fs.getAttributes(file)).rejects.toMatchObject({ code: 'FILE_STALE' })
    await expect(cluster.openVDisk('default/images/vm.img')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('a disk that is moved or grown through its file is a file from then on', async () => {
    await (await cluster.createVDisk('moved', { size: 1 * MiB })).close()
    const { file: dir } = await fs.createDirectory(ROOT, name('disks'), {})
    await fs.rename(ROOT, name('moved'), dir.id, name('here'))
    expect(await names(dir.id)).toEqual(['here'])
    const { file } = await fs.lookup(dir.id, name('here'))
    await fs.write(file.id, 3 * MiB, Buffer.from('end'))
    const listed = (await cluster.listVDisks()).map((info) => [info.name, info.size])
    expect(listed).toContainEqual(['default/disks/here', 3 * MiB + 3])
    expect(listed.map(([each]) => each)).not.toContain('moved')
  })
})

test('files are there after the cluster was closed and opened again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hither-files-'))
  try {
    const settings = { nodes: 2, ssdBytes: 256 * MiB, hddBytes: 0 }
    const first = await openCluster(`file:${folder}`, settings)
    const before = await first.files('node-1').fileSystem('default')
    const { file } = await before.createFile(ROOT, name('kept'), { mode: 0o600 }, { how: 'guarded' })
    await before.write(file.id, 2 * MiB, Buffer.from('end'))
    const { file: small } = await before.createFile(ROOT, Buffer.from([0xff, 0x0a]), {}, { how: 'guarded' })
    await before.write(small.id, 0, Buffer.from('raw name'))
    await first.close()
    const second = await openCluster(`file:${folder}`)
    const after = await second.files('node-2').fileSystem('default')
    expect(after.id).toBe(before.id)
    expect(await after.getAttributes(file.id, file.birth)).toMatchObject({ mode: 0o600, size: 2 * MiB + 3 })
    expect((await content(file.id, 3 * MiB, after)).subarray(2 * MiB).toString()).toBe('end')
    const { entries } = await after.list(ROOT, 0, 10)
    expect([...entries[1]!.name]).toEqual([0xff, 0x0a])
    expect((await content(small.id, 100, after)).toString()).toBe('raw name')
    await second.close()
  } finally {
    await rm(folder, { recursive: true })
  }
})
