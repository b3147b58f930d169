/**
 * Other people's NFS clients at the doors of a real cluster: libnfs's tools and qemu-img. Guards: that they are served,
 * and that every door shows the same.
 *
 * qemu asks a portmapper on port 111 where NFS is, and cannot be told otherwise; without the right to listen there that
 * part is skipped, with a line that says so.
 */
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { type PortmapServer, servePortmap } from '../../src/frontend/nfs/index.ts'
import { Calls } from '../frontend/nfs/calls.ts'
import { RawClient } from '../frontend/nfs/raw-client.ts'
import { peer, run } from '../peers.ts'
import {
  ClusterProcess,
  chosenSeed,
  Dice,
  firstDifference,
  must,
  scratchFolder,
  TIMEOUT_MS,
} from './harness.ts'

const SMALL_CLUSTER = ['--memory', '--nfs-port', '0', '--nodes', '3', '--ssd', '2GiB', '--hdd', '0']

/** libnfs URL of `path` at the door of host `host` (from 1). */
function nfsUrl(cluster: ClusterProcess, host: number, path = ''): string {
  const port = portOf(cluster, host)
  return `nfs://127.0.0.1/default${path}?nfsport=${port}&mountport=${port}`
}

function portOf(cluster: ClusterProcess, host: number): number {
  return Number(new URL(cluster.hosts[host - 1]!.nfs!).port)
}

async function callsTo(cluster: ClusterProcess, host: number): Promise<Calls> {
  return new Calls(await RawClient.connect(portOf(cluster, host)))
}

peer('nfs-ls', 'nfs-cp', 'nfs-cat').it(
  'libnfs copies, lists and reads the same at every door',
  async () => {
    await using folder = await scratchFolder()
    const dice = new Dice(chosenSeed())
    await using cluster = await ClusterProcess.start(folder.path, SMALL_CLUSTER)
    const writer = await callsTo(cluster, 1)
    const root = await writer.mount()
    const deep = await writer.mkdir((await writer.mkdir(root, 'a')).handle, 'b c')
    await writer.symlink(root, 'link', 'a/b c')
    for (const [name, bytes] of [
      ['tiny', 4],
      ['small', 60_000],
      ['large', 5_000_000],
    ] as const) {
      await writeFile(join(folder.path, name), dice.bytes(bytes))
      await must('nfs-cp', [join(folder.path, name), nfsUrl(cluster, 1, `/a/${name}`)])
    }
    await writer.create(deep.handle, 'empty')
    const listings: string[] = []
    for (const host of [1, 2, 3]) {
      const listing = (await must('nfs-ls', ['-R', nfsUrl(cluster, host)])).stdout
      listings.push(listing.split('\n').sort().join('\n'))
      for (const name of ['tiny', 'small', 'large']) {
        const copy = join(folder.path, `${name}-${host}`)
        await must('sh', ['-c', 'nfs-cat "$0" > "$1"', nfsUrl(cluster, host, `/a/${name}`), copy])
        expect(await firstDifference(join(folder.path, name), copy)).toBeUndefined()
      }
    }
    expect(listings[0]).toMatch(/5000000 .*large/)
    expect(listings[0]).toMatch(/empty/)
    expect(new Set(listings).size).toBe(1)
    writer.client.close()
    await cluster.stop()
  },
  TIMEOUT_MS,
)

it(
  'a directory of 20,000 entries and names of any byte are whole at every door',
  async () => {
    await using folder = await scratchFolder()
    await using cluster = await ClusterProcess.start(folder.path, SMALL_CLUSTER)
    const writer = await callsTo(cluster, 1)
    const root = await writer.mount()
    const { handle } = await writer.mkdir(root, 'many')
    const names = Array.from({ length: 20_000 - 254 }, (_, i) => `file-${i}`)
    // Every byte that may be in a name, alone.
    for (let byte = 1; byte < 256; byte += 1)
      if (byte !== 0x2f && byte !== 0x2e) names.push(String.fromCharCode(byte))
    names.push('\xff'.repeat(255))
    let next = 0
    const startedAt = performance.now()
    const make = async (): Promise<void> => {
      for (let name = names[next++]; name !== undefined; name = names[next++]) {
        expect((await writer.create(handle, name, { guarded: { mode: 0o644 } })).status).toBe(0)
      }
    }
    await Promise.all(Array.from({ length: 64 }, make))
    const madeMs = performance.now() - startedAt
    const wanted = ['.', '..', ...names].sort()
    let listedMs = 0
    for (const host of [1, 2, 3]) {
      const reader = await callsTo(cluster, host)
      const directory = await reader.mount('/default/many')
      const before = performance.now()
      const listed = await reader.listAll(directory, { plus: true, bytes: 65_536 })
      listedMs = Math.max(listedMs, performance.now() - before)
      expect(listed.map(({ name }) => name).sort()).toEqual(wanted)
      expect(directory.equals(handle)).toBe(true)
      reader.client.close()
    }
    const made = `made in ${(madeMs / 1_000).toFixed(1)} s, 64 at a time`
    console.log(`20,000 entries: ${made}; listed with attributes in ${listedMs.toFixed(0)} ms`)
    expect(listedMs).toBeLessThan(20_000)
    writer.client.close()
    await cluster.stop()
  },
  TIMEOUT_MS,
)

const qemu = peer('qemu-img', 'qemu-block-nfs')
qemu.it(
  'qemu-img converts to and compares at every door, and a file is a disk',
  async () => {
    if (!(await canListenOn111())) {
      console.log('skipped, port 111 is taken or not ours: qemu-img over nfs://')
      return
    }
    await using folder = await scratchFolder()
    const dice = new Dice(chosenSeed())
    const image = join(folder.path, 'image.raw')
    // Data, a hole, data: 24 MiB.
    await writeFile(image, Buffer.concat([dice.bytes(8 << 20), Buffer.alloc(8 << 20), dice.bytes(8 << 20)]))
    await using cluster = await ClusterProcess.start(folder.path, SMALL_CLUSTER)
    await cluster.hither('disk', 'create', 'disk1', '--size', '24MiB')
    for (const host of [1, 2, 3]) {
      await using _portmap: PortmapServer = await servePortmap({ nfsPort: portOf(cluster, host) })
      const url = (name: string): string => `nfs://127.0.0.1/default/${name}`
      await must('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', image, url(`image-${host}`)])
      for (let earlier = 1; earlier <= host; earlier += 1) await same(image, url(`image-${earlier}`))
      const info = await must('qemu-img', ['info', '--output', 'json', '-f', 'raw', url(`image-${host}`)])
      expect(JSON.parse(info.stdout)).toMatchObject({ 'virtual-size': 24 << 20 })
      // The disk is a file here, and what is written to the one is read from the other.
      if (host === 1) {
        const to = ['convert', '-n', '-f', 'raw', '-O', 'raw', image, url('disk1')]
        await must('qemu-img', to)
      }
      await same(image, url('disk1'))
      await same(image, cluster.uri('disk1', host))
    }
    await cluster.stop()
  },
  TIMEOUT_MS,
)

async function same(one: string, other: string): Promise<void> {
  const { stdout } = await must('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', one, other])
  expect(stdout).toContain('identical')
}

async function canListenOn111(): Promise<boolean> {
  const server = createServer()
  const listening = once(server, 'listening').then(
    () => true,
    () => false,
  )
  server.listen(111, '127.0.0.1')
  const can = await listening
  server.close()
  return can
}

peer('nfs-ls').it('nfs-ls without ports finds the first door by --portmap', async () => {
  if (!(await canListenOn111())) {
    console.log('skipped, port 111 is taken or not ours: --portmap')
    return
  }
  await using folder = await scratchFolder()
  await using cluster = await ClusterProcess.start(folder.path, [...SMALL_CLUSTER, '--portmap'])
  const calls = await callsTo(cluster, 1)
  await calls.create(await calls.mount(), 'here')
  calls.client.close()
  const listing = await run('nfs-ls', ['nfs://127.0.0.1/default'])
  expect(listing).toMatchObject({ code: 0 })
  expect(listing.stdout).toContain('here')
  await cluster.stop()
})
