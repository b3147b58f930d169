/**
 * A file system in use: ext4 made on a disk, mounted through nbdfuse and a loop device, filled with real files, checked
 * and mounted again through another host's door after a failed CVM and a move. Guards: the kernel's own reads and writes
 * through a door, and that what was unmounted cleanly is clean and complete wherever it is served next.
 *
 * Mounting asks for root, FUSE and loop devices; without them it is skipped, with a line that says so.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { peer, run } from '../peers.ts'
import { ClusterProcess, firstDifference, LONG, must, scratchFolder, TIMEOUT_MS, until } from './harness.ts'

/** Real files that every checkout has: a program, and packages full of small texts. */
const PACKAGES = resolve(import.meta.dirname, '../../node_modules')
const SOURCES = [
  ...[join(PACKAGES, 'fast-check'), join(PACKAGES, 'vitest'), join(PACKAGES, 'commander')],
  ...(LONG ? [process.execPath] : []),
]
const SIZE = LONG ? '512MiB' : '96MiB'

const canMount = process.getuid?.() === 0 && existsSync('/dev/fuse') && existsSync('/dev/loop-control')
if (!canMount) console.log('skipped, no root, /dev/fuse or /dev/loop-control: a mounted file system')

const tools = peer('nbdfuse', 'mke2fs', 'e2fsck', 'mount', 'umount', 'diff', 'qemu-img', 'nbdcopy', 'nbdinfo')
const itMounts = canMount ? tools.it : it.skip
itMounts(
  'ext4 on a mounted disk stays whole through a failed CVM, a move and another door',
  async () => {
    await using folder = await scratchFolder()
    const original = join(folder.path, 'original')
    await mkdir(original)
    for (const source of SOURCES) await cp(source, join(original, source.split('/').at(-1)!), COPY)
    await using cluster = await ClusterProcess.start(folder.path, [
      ...['--ssd', '1GiB', '--hdd', '2GiB', '--hold-down', '500ms'],
    ])
    await cluster.hither('disk', 'create', 'fs', '--size', SIZE, '--vm', 'vm1', '--node', 'node-1')

    {
      await using fuse = await FuseFile.mount(cluster.uri('fs', 1), join(folder.path, 'door-1'))
      await must('mke2fs', ['-q', '-F', '-t', 'ext4', fuse.path])
      await using mounted = await LoopMount.mount(fuse.path, join(folder.path, 'mnt-1'))
      await cp(original, join(mounted.path, 'files'), COPY)
      // The second half of the fill goes on while the CVM that serves it is killed.
      const filling = cp(original, join(mounted.path, 'more'), COPY)
      await cluster.hither('cvm', 'fail', 'node-1')
      await filling
      await must('sync', ['-f', mounted.path])
      await cluster.hither('cvm', 'recover', 'node-1')
    }
    await cluster.hither('vm', 'move', 'vm1', '--to', 'node-3')
    {
      await using fuse = await FuseFile.mount(cluster.uri('fs', 3), join(folder.path, 'door-3'))
      await must('e2fsck', ['-fn', fuse.path])
      await using mounted = await LoopMount.mount(fuse.path, join(folder.path, 'mnt-3'))
      await must('diff', ['-r', '--no-dereference', original, join(mounted.path, 'files')])
      await must('diff', ['-r', '--no-dereference', original, join(mounted.path, 'more')])
    }
    // Reading went through a mount that may write; what it left is clean, and the same from every door.
    const copy = join(folder.path, 'copy.raw')
    await must('nbdcopy', [cluster.uri('fs', 2), copy])
    await must('e2fsck', ['-fn', copy])
    for (const host of cluster.hosts.keys()) {
      const args = ['compare', '-f', 'raw', '-F', 'raw', copy, cluster.uri('fs', host + 1)]
      expect((await must('qemu-img', args)).stdout).toContain('identical')
    }
    const exported = join(folder.path, 'exported.raw')
    await cluster.hither('disk', 'export', 'fs', exported)
    expect(await firstDifference(copy, exported)).toBeUndefined()
    expect((await must('nbdinfo', ['--list', cluster.hosts[3]!.nbd])).stdout).toContain('export="fs"')
    const { logicalBytes, storedBytes, savedBytes } = await cluster.stats()
    console.log(
      `${SIZE} ext4 with ${(logicalBytes / 2 ** 20).toFixed(0)} MiB of data, ` +
        `${(storedBytes / 2 / 2 ** 20).toFixed(0)} MiB a copy: clean and identical from every door`,
    )
    // Everything was copied twice.
    expect(savedBytes.dedupe).toBeGreaterThan(0.3 * logicalBytes)
    await cluster.stop()
  },
  TIMEOUT_MS,
)

const COPY = { recursive: true, verbatimSymlinks: true }

/** A disk as a file, by way of nbdfuse. */
class FuseFile implements AsyncDisposable {
  readonly path: string
  readonly #folder: string
  readonly #server: ChildProcess

  private constructor(folder: string, server: ChildProcess) {
    this.path = join(folder, 'disk')
    this.#folder = folder
    this.#server = server
  }

  static async mount(uri: string, folder: string): Promise<FuseFile> {
    await mkdir(folder)
    const server = spawn('nbdfuse', [join(folder, 'disk'), uri], { stdio: ['ignore', 'ignore', 'inherit'] })
    const fuse = new FuseFile(folder, server)
    await until('nbdfuse shows the disk', () =>
      stat(fuse.path).then(
        () => true,
        () => false,
      ),
    )
    return fuse
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await unmount(this.#folder)
    if (this.#server.exitCode === null) await new Promise((done) => this.#server.once('exit', done))
  }
}

class LoopMount implements AsyncDisposable {
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  static async mount(file: string, path: string): Promise<LoopMount> {
    await mkdir(path)
    await must('mount', ['-o', 'loop', file, path])
    return new LoopMount(path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await unmount(this.path)
  }
}

/** The kernel lets go of a loop device's file a little after it was unmounted. */
async function unmount(path: string): Promise<void> {
  for (let attempt = 1; (await run('umount', [path])).code !== 0; attempt++) {
    if (attempt === 100) throw new Error(`${path} stays busy`)
    await sleep(50)
  }
}
