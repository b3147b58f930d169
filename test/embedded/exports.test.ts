/**
 * Exports that come and go: a container that exists is exported later, its disks are files then, and every door shows it
 * at once; after the end of the export its files are out of reach, at every door, and are there again with the next.
 */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Cluster } from '../../src/api.ts'
import { codeOf } from '../../src/base/errors.ts'
import { MiB } from '../../src/base/units.ts'
import { ExportDirectory } from '../../src/frontend/nbd/export-directory.ts'
import { serveNfs } from '../../src/frontend/nfs/index.ts'
import { openCluster } from '../../src/index.ts'
import { Calls } from '../frontend/nfs/calls.ts'
import { RawClient } from '../frontend/nfs/raw-client.ts'

const [STALE, ROFS, NOENT] = [70, 30, 2]
const BLOCK = Buffer.alloc(4096, 7)

let cluster: Cluster
let doors: Awaited<ReturnType<typeof serveNfs>>[]
let clients: RawClient[]

beforeEach(async () => {
  cluster = await openCluster('memory:', { nodes: 3, ssdBytes: 128 * MiB, hddBytes: 0 })
  doors = await Promise.all(cluster.nodes.map((node) => serveNfs(cluster.files(node))))
  clients = await Promise.all(doors.map((door) => RawClient.connect(door.port)))
})

afterEach(async () => {
  for (const client of clients) client.close()
  for (const door of doors) await door.close()
  await cluster.close()
})

async function codeFrom(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    (error: unknown) => codeOf(error),
  )
}

test('a container with disks is exported, changed and exported no more, at all doors at once', async () => {
  await cluster.createContainer('later')
  const disk = await cluster.createVDisk('vm1', { size: 4 * MiB, container: 'later' })
  await disk.write(8192, BLOCK)
  await disk.close()
  const calls = clients.map((client) => new Calls(client))
  for (const one of calls) expect((await one.tryMount('/later')).status).toBe(NOENT)

  expect((await cluster.exportContainer('later', { squash: 'none' })).export).toMatchObject({
    readOnly: false,
  })
  const roots: Buffer[] = []
  for (const one of calls) roots.push(await one.mount('/later'))
  for (const root of roots) expect(root.equals(roots[0]!)).toBe(true)
  const root = roots[0]!
  const vm1 = await calls[1]!.lookup(root, 'vm1')
  expect((await calls[2]!.read(vm1.handle, 8192, 4096)).data.equals(BLOCK)).toBe(true)
  const made = await calls[0]!.create(root, 'notes')
  await calls[0]!.write(made.handle, 0, BLOCK)
  // A file is a disk as well, also a small one, which no list of disks has.
  const nbd = new ExportDirectory(cluster.path('node-2'))
  expect((await nbd.list()).map(({ name }) => name)).toEqual(['vm1'])
  expect(await nbd.find('later/notes')).toMatchObject({ name: 'later/notes', size: 4096 })
  const others = [
    'later/none',
    'later/',
    'later/..',
    'vm1/x',
    'none/x',
    `later/${'x'.repeat(300)}`,
    'later/a\0b',
  ]
  for (const name of others) expect(await nbd.find(name)).toBeUndefined()
  const opened = await cluster.path('node-2').openVDisk('later/notes')
  expect(Buffer.from(await opened.read(0, 4096)).equals(BLOCK)).toBe(true)
  expect(await codeFrom(cluster.unexportContainer('later'))).toBe('IN_USE')
  await opened.close()

  // Each door has used the export just now: it does not go by what it knows.
  for (const one of calls) expect((await one.write(made.handle, 0, BLOCK)).status).toBe(0)
  await cluster.exportContainer('later', { readOnly: true })
  for (const one of calls) expect((await one.write(made.handle, 0, BLOCK)).status).toBe(ROFS)

  const held = await cluster.files('node-1').fileSystem('later')
  expect((await cluster.unexportContainer('later')).export).toBeUndefined()
  for (const one of calls) {
    expect((await one.write(made.handle, 0, BLOCK)).status).toBe(STALE)
    expect((await one.tryMount('/later')).status).toBe(NOENT)
  }
  expect(await codeFrom(held.getAttributes(1))).toBe('FILE_STALE')
  expect(await codeFrom(cluster.files('node-3').fileSystem('later'))).toBe('NOT_FOUND')
  expect(await codeFrom(cluster.openVDisk('later/notes'))).toBe('NOT_FOUND')
  expect((await cluster.listVDisks()).map(({ name }) => name)).toEqual(['vm1'])
  await (await cluster.createVDisk('vm2', { size: 1 * MiB, container: 'later' })).close()

  await cluster.exportContainer('later', { squash: 'none' })
  for (const one of calls) {
    expect((await one.write(made.handle, 0, BLOCK)).status).toBe(0)
    const names = (await one.listAll(root)).map(({ name }) => name).filter((name) => !name.startsWith('.'))
    expect(names.sort()).toEqual(['notes', 'vm1', 'vm2'])
  }
  expect((await cluster.listVDisks()).map(({ name }) => name)).toEqual(['later/notes', 'vm1', 'vm2'])
})

test('what is not there, and what is not allowed', async () => {
  expect(await codeFrom(cluster.exportContainer('none'))).toBe('NOT_FOUND')
  expect(await codeFrom(cluster.unexportContainer('none'))).toBe('NOT_FOUND')
  expect(await codeFrom(cluster.exportContainer('default', { allow: ['10.0.0.0/40'] }))).toBe('BAD_SETTING')
  expect((await cluster.listContainers())[0]!.export?.allow).toEqual(['127.0.0.0/8', '::1/128'])
})
