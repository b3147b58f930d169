/**
 * A real file system in a real image, through real clients and every host's door. Guards: what qemu-img and nbdcopy
 * write is what everybody reads, whoever serves it, and the file system in it stays clean.
 */

import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect } from 'vitest'
import { peer, run } from '../peers.ts'
import { ServedCluster } from './served-cluster.ts'

const folders: string[] = []
afterEach(async () => {
  await ServedCluster.killAll()
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
})

async function ok(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, args, { timeoutMs: 60_000 })
  expect(`${code} ${code === 0 ? '' : stdout + stderr}`, `${program} ${args.join(' ')}`).toBe('0 ')
  return stdout
}

async function makeImage(folder: string): Promise<string> {
  const tree = join(folder, 'tree')
  await mkdir(join(tree, 'deep/er'), { recursive: true })
  for (let i = 0; i < 200; i++) await writeFile(join(tree, `deep/file-${i}`), `line ${i}\n`.repeat(i * 20))
  for (let i = 0; i < 10; i++) await writeFile(join(tree, `deep/er/noise-${i}`), randomBytes(1_000_000 + i))
  const image = join(folder, 'fs.img')
  await ok('mke2fs', '-q', '-t', 'ext4', '-d', tree, image, '64M')
  return image
}

peer(
  'qemu-img',
  'nbdcopy',
  'nbdinfo',
  'mke2fs',
  'e2fsck',
).it('an ext4 image is identical from every door, survives a failover and a move, and is clean', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hither-image-'))
  folders.push(folder)
  const image = await makeImage(folder)
  const cluster = await ServedCluster.start(folder, '--ssd', '512MiB', '--hdd', '0', '--hold-down', '300ms')
  await cluster.command('disk', 'create', 'disk', '--size', '64MiB', '--vm', 'vm1', '--node', 'node-1')
  await ok('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', image, cluster.url('node-1', 'disk'))
  const compareEverywhere = async () => {
    for (const { node } of cluster.hosts) {
      await ok('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', image, cluster.url(node, 'disk'))
    }
  }
  await compareEverywhere()
  expect(await ok('nbdinfo', '--list', cluster.url('node-2', ''))).toContain('export="disk"')
  await cluster.command('vm', 'move', 'vm1', '--to', 'node-3')
  await compareEverywhere()
  await cluster.command('cvm', 'fail', 'node-3')
  await compareEverywhere()
  await cluster.command('cvm', 'recover', 'node-3')
  const copy = join(folder, 'copy.img')
  await ok('nbdcopy', cluster.url('node-4', 'disk'), copy)
  await ok('e2fsck', '-fn', copy)
  // Back through the other client, onto a second disk, in parallel connections.
  await cluster.command('disk', 'create', 'second', '--size', '64MiB', '--node', 'node-2')
  await ok('nbdcopy', '--connections=4', copy, cluster.url('node-1', 'second'))
  await ok('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', image, cluster.url('node-4', 'second'))
  // The second disk is a duplicate of the first, block for block.
  const { savedBytes, logicalBytes } = await cluster.stats()
  expect(savedBytes.dedupe).toBeGreaterThan(0.4 * logicalBytes)
  await cluster.stop()
}, 120_000)
