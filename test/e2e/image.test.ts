/**
 * A real file system in a real image, through real clients and every host's door. Guards: what qemu-img and nbdcopy
 * write is what everybody reads, whoever serves it, and the file system in it stays clean.
 */

import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { peer, run } from '../peers.ts'
import { ClusterProcess, scratchFolder } from './harness.ts'

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
  await using scratch = await scratchFolder()
  const folder = scratch.path
  const image = await makeImage(folder)
  const settings = ['--ssd', '512MiB', '--hdd', '0', '--hold-down', '300ms']
  await using cluster = await ClusterProcess.start(folder, settings)
  await cluster.hither('disk', 'create', 'disk', '--size', '64MiB', '--vm', 'vm1', '--node', 'node-1')
  await ok('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', image, cluster.uri('disk', 1))
  const compareEverywhere = async () => {
    for (let host = 1; host <= cluster.hosts.length; host++) {
      await ok('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', image, cluster.uri('disk', host))
    }
  }
  await compareEverywhere()
  expect(await ok('nbdinfo', '--list', cluster.uri('', 2))).toContain('export="disk"')
  await cluster.hither('vm', 'move', 'vm1', '--to', 'node-3')
  await compareEverywhere()
  await cluster.hither('cvm', 'fail', 'node-3')
  await compareEverywhere()
  await cluster.hither('cvm', 'recover', 'node-3')
  const copy = join(folder, 'copy.img')
  await ok('nbdcopy', cluster.uri('disk', 4), copy)
  await ok('e2fsck', '-fn', copy)
  // Back through the other client, onto a second disk, in parallel connections.
  await cluster.hither('disk', 'create', 'second', '--size', '64MiB', '--node', 'node-2')
  await ok('nbdcopy', '--connections=4', copy, cluster.uri('second', 1))
  await ok('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', image, cluster.uri('second', 4))
  // The second disk is a duplicate of the first, block for block.
  const { savedBytes, logicalBytes } = await cluster.stats()
  expect(savedBytes.dedupe).toBeGreaterThan(0.4 * logicalBytes)
  await cluster.stop()
}, 120_000)
