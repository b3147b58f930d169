/**
 * A virtual machine for live migration: qemu with two disks, root on the first, told what to do over QMP. Its initramfs only
 * finds the root disk; what runs comes from there.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { must, until } from '../harness.ts'
import { addInit, addModules, archive, kernelImage, SerialLine } from '../nfs-guest/guest.ts'

const HERE = import.meta.dirname
const MODULES = ['virtio_pci', 'virtio_blk']
const ROOT_FOLDERS = ['proc', 'sys', 'dev', 'run']
/** The migration may not take longer than this; emulated and on a busy machine it takes some ten seconds. */
const MIGRATED_WITHIN_MS = 180_000

/** Makes `initramfs` and `root.img`, an ext4 file system of `rootBytes`, in `folder`. */
export async function packVm(kernel: string, folder: string, rootBytes: number): Promise<void> {
  const [first, root] = [join(folder, 'first'), join(folder, 'root')]
  for (const name of ROOT_FOLDERS) await mkdir(join(root, name), { recursive: true })
  for (const place of [first, root]) await addInit(place, join(HERE, 'init.sh'))
  const link = 'cd "$0" && for name in $(./busybox --list | grep -vx busybox); do ln -s busybox "$name"; done'
  await must('sh', ['-c', link, join(root, 'bin')])
  const check = join(root, 'bin/disk-check')
  await must('gcc', ['-O2', '-static', '-o', check, join(HERE, 'disk-check.c')])
  await addModules(first, kernel, MODULES)
  await archive(first, join(folder, 'initramfs'))
  await must('mke2fs', ['-q', '-t', 'ext4', '-d', root, join(folder, 'root.img'), `${rootBytes / 1024}k`])
}

export interface VmSettings {
  readonly kernel: string
  /** Of `packVm`; sockets are made there, too. */
  readonly folder: string
  readonly name: string
  /** Addresses of the disks, as qemu takes them. */
  readonly disks: readonly [root: string, data: string]
  readonly seed: number
  /** Socket on which the machine comes in; without it, it boots. */
  readonly incoming?: string
}

export class Vm implements AsyncDisposable {
  readonly serial: SerialLine
  readonly #qemu: ChildProcess
  readonly #qmp: Qmp

  private constructor(qemu: ChildProcess, serial: SerialLine, qmp: Qmp) {
    this.#qemu = qemu
    this.serial = serial
    this.#qmp = qmp
  }

  static async start({ kernel, folder, name, disks, seed, incoming }: VmSettings): Promise<Vm> {
    const control = join(folder, `${name}.qmp`)
    const qemu = spawn(
      'qemu-system-x86_64',
      [
        ...['-name', name, '-machine', 'q35', '-accel', existsSync('/dev/kvm') ? 'kvm' : 'tcg', '-m', '128'],
        ...['-nodefaults', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
        ...['-qmp', `unix:${control},server=on,wait=off`],
        ...['-kernel', kernelImage(kernel), '-initrd', join(folder, 'initramfs')],
        ...['-append', `console=ttyS0 panic=-1 quiet seed=${seed}`],
        ...disks.flatMap((disk) => ['-drive', `file=${disk},format=raw,if=virtio,cache=none`]),
        ...(incoming === undefined ? [] : ['-incoming', `unix:${incoming}`]),
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    )
    const serial = new SerialLine(qemu)
    try {
      await until(`${name} can be told something`, async () => {
        if (qemu.exitCode !== null) throw new Error(`qemu ${name} ended with ${qemu.exitCode}`)
        return existsSync(control)
      })
      return new Vm(qemu, serial, await Qmp.connect(control))
    } catch (error) {
      qemu.kill('SIGKILL')
      throw error
    }
  }

  /** Moves the running machine to the qemu that waits at `socket`. Resolves with how long it stood still, ms. */
  async migrateTo(socket: string): Promise<number> {
    await this.#qmp.ask('migrate', { uri: `unix:${socket}` })
    for (const end = Date.now() + MIGRATED_WITHIN_MS; Date.now() < end; await sleep(100)) {
      const { status, downtime } = await this.#qmp.ask('query-migrate')
      if (status === 'completed') return Number(downtime)
      if (status === 'failed') throw new Error('qemu says that the migration failed')
    }
    throw new Error(`the migration took longer than ${MIGRATED_WITHIN_MS} ms`)
  }

  /** Types a line on the guest's serial line. */
  type(line: string): void {
    this.#qemu.stdin!.write(`${line}\n`)
  }

  /** Ends the process, as one does with what is left of a machine that moved away. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#qmp.close()
    if (this.#qemu.exitCode === null) this.#qemu.kill('SIGKILL')
    await this.serial.exited
  }
}

type Answer = Readonly<Record<string, unknown>>

/** qemu's control protocol: a JSON object a line. One command at a time. */
class Qmp {
  readonly #socket: Socket
  #settle: (answer: Answer) => void = () => {}

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#settle({ error: 'qemu left' }))
    createInterface(socket).on('line', (line) => {
      const message = JSON.parse(line) as Answer
      if ('return' in message || 'error' in message) this.#settle(message)
    })
  }

  static async connect(path: string): Promise<Qmp> {
    const qmp = new Qmp(connect(path))
    await qmp.ask('qmp_capabilities')
    return qmp
  }

  async ask(execute: string, given: Answer = {}): Promise<Answer> {
    const answered = new Promise<Answer>((resolve) => {
      this.#settle = resolve
    })
    this.#socket.write(`${JSON.stringify({ execute, arguments: given })}\n`)
    const answer = await answered
    if ('error' in answer) throw new Error(`qemu refused ${execute}: ${JSON.stringify(answer['error'])}`)
    return answer['return'] as Answer
  }

  close(): void {
    this.#socket.destroy()
  }
}
