/**
 * A Linux guest in qemu that has an initramfs and a serial line, and nothing else: the kernel's own NFS client, for tests.
 *
 * The kernel is Debian's `linux-image-cloud-amd64`, unpacked (`apt-get download`, `dpkg -x`) into the folder that
 * `HITHER_GUEST_KERNEL` names: it need not be installed. Without KVM the guest runs emulated, some ten times slower.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { must } from '../harness.ts'

/** What the guest's kernel has to load: network card, NFS client. Their dependencies come along. */
const MODULES = ['virtio_pci', 'virtio_net', 'nfs', 'nfsv3']
const HERE = import.meta.dirname

/** The folder of the unpacked kernel package, or `undefined`. */
export function guestKernel(): string | undefined {
  const folder = process.env['HITHER_GUEST_KERNEL']
  return folder !== undefined && existsSync(join(folder, 'boot')) ? folder : undefined
}

/** Packs an initramfs with busybox, modules, the checker, and a tree of files to unpack; returns its path. */
export async function packInitramfs(kernel: string, scratch: string, tree: string): Promise<string> {
  const root = join(scratch, 'initramfs')
  await addInit(root, join(HERE, 'init.sh'))
  await must('gcc', ['-O2', '-static', '-o', join(root, 'bin/fsx'), join(HERE, 'fsx.c')])
  await addModules(root, kernel, MODULES)
  await must('tar', ['-cf', join(root, 'tree.tar'), '-C', tree, '.'])
  const sums = await must('sh', ['-c', 'cd "$0" && find . -type f | sort | xargs sha256sum', tree])
  await writeFile(join(root, 'manifest'), sums.stdout)
  const image = join(scratch, 'initramfs.gz')
  await archive(root, image)
  return image
}

/** Puts busybox into `root`, and `script` as the first process. */
export async function addInit(root: string, script: string): Promise<void> {
  await mkdir(join(root, 'bin'), { recursive: true })
  const busybox = (await must('sh', ['-c', 'command -v busybox'])).stdout.trim()
  await copyFile(busybox, join(root, 'bin/busybox'))
  await copyFile(script, join(root, 'init'))
  for (const file of ['init', 'bin/busybox']) await chmod(join(root, file), 0o755)
}

/** Puts modules and what they need into `root`/modules, and into `order` there in which order they load. */
export async function addModules(root: string, kernel: string, names: readonly string[]): Promise<void> {
  await mkdir(join(root, 'modules'))
  const modules = modulesInOrder(kernel, names)
  for (const path of modules) await copyFile(path, join(root, 'modules', basename(path)))
  await writeFile(join(root, 'modules/order'), modules.map((path) => basename(path)).join('\n'))
}

/** Packs `root` as the initramfs `image`. */
export async function archive(root: string, image: string): Promise<void> {
  await must('sh', ['-c', 'cd "$0" && find . | cpio -o -H newc --quiet | gzip -1 > "$1"', root, image])
}

/** Paths of modules of the unpacked kernel and what they need, each behind what it needs. */
function modulesInOrder(kernel: string, names: readonly string[]): string[] {
  const folder = join(kernel, 'lib/modules')
  const paths = new Map<string, string>()
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (file.endsWith('.ko')) paths.set(moduleName(file), join(folder, file))
  }
  const ordered = new Set<string>()
  const add = (name: string): void => {
    const path = paths.get(name)
    if (path === undefined || ordered.has(path)) return
    for (const needed of dependencies(path)) add(needed)
    ordered.add(path)
  }
  for (const name of names) add(name)
  return [...ordered]
}

function moduleName(file: string): string {
  return basename(file, '.ko').replaceAll('-', '_')
}

/** A module says itself what it needs: `depends=a,b` in its section `.modinfo`. */
function dependencies(path: string): string[] {
  const text = readFileSync(path, 'latin1')
  const found = /(?:^|\0)depends=([^\0]*)\0/.exec(text)?.[1] ?? ''
  return found
    .split(',')
    .filter((name) => name !== '')
    .map(moduleName)
}

/** Path of the kernel's image. */
export function kernelImage(kernel: string): string {
  const file = readdirSync(join(kernel, 'boot')).find((name) => name.startsWith('vmlinuz'))
  if (file === undefined) throw new Error(`${kernel} has no kernel in boot/`)
  return join(kernel, 'boot', file)
}

/** What a guest writes to its serial line, which is its qemu's stdout. */
export class SerialLine {
  readonly lines: string[] = []
  /** When each was heard, ms since 1970. */
  readonly heardAt: number[] = []
  /** Its qemu ended. */
  readonly exited: Promise<void>
  readonly #heard = new EventEmitter()

  constructor(qemu: ChildProcess) {
    this.exited = new Promise((resolve) => qemu.once('exit', () => resolve()))
    createInterface(qemu.stdout!).on('line', (line) => {
      this.lines.push(line.trim())
      this.heardAt.push(Date.now())
      this.#heard.emit('something')
    })
    void this.exited.then(() => this.#heard.emit('something'))
  }

  /** The first line that matches; throws, with what the guest said, when it ends without one. */
  async says(what: RegExp): Promise<RegExpExecArray> {
    let over = false
    void this.exited.then(() => {
      over = true
    })
    for (;;) {
      for (const line of this.lines) {
        const found = what.exec(line)
        if (found !== null) return found
      }
      if (over) throw new Error(`the guest ended without ${what}:\n${this.lines.slice(-40).join('\n')}`)
      await once(this.#heard, 'something')
    }
  }
}

/** A running guest. Disposing ends it. */
export class Guest implements AsyncDisposable {
  readonly serial: SerialLine
  readonly #qemu: ChildProcess

  constructor(kernel: string, initramfs: string, parameters: Readonly<Record<string, string | number>>) {
    const words = Object.entries(parameters).map(([name, value]) => `${name}=${value}`)
    const accelerator = existsSync('/dev/kvm') ? 'kvm' : 'tcg'
    this.#qemu = spawn(
      'qemu-system-x86_64',
      [
        ...['-machine', 'q35', '-accel', accelerator, '-m', '512', '-nographic', '-no-reboot'],
        ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net'],
        ...['-kernel', kernelImage(kernel), '-initrd', initramfs],
        ...['-append', `console=ttyS0 panic=-1 quiet ${words.join(' ')}`],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    this.serial = new SerialLine(this.#qemu)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#qemu.kill('SIGKILL')
    await this.serial.exited
  }
}
