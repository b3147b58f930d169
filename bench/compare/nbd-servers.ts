/** NBD servers as processes of their own, on a unix socket each: ours, a Node server that does nothing, and those of others. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Scratch, scratchFolder } from '../shared/scratch.ts'

export const EXPORT_NAME = 'disk'
export const EXPORT_BYTES = 256 * 1024 * 1024
/** Kept of what a server complains about. */
const SAID_CHARACTERS_MAX = 2_000
const START_WITHIN_MS = 60_000

export interface ServerKind {
  readonly name: string
  /** Programs that it needs. */
  readonly programs: readonly string[]
  /** Runs once before the server, in the scratch folder. */
  readonly prepare?: readonly string[]
  command(socket: string, folder: string): readonly string[]
  /** Whether clients have to name the export. */
  readonly named: boolean
}

/** A child of this program: TypeScript, in one process, so that a signal reaches it. */
const child = (file: string, ...args: readonly string[]): string[] => [
  process.execPath,
  '--import',
  import.meta.resolve('tsx'),
  join(import.meta.dirname, file),
  ...args,
]

const qemu = (format: string): ServerKind => ({
  name: `qemu-nbd ${format}`,
  programs: ['qemu-nbd', 'qemu-img'],
  prepare: ['qemu-img', 'create', '-q', '-f', format, 'image', String(EXPORT_BYTES)],
  command: (socket, folder) => [
    ...['qemu-nbd', '-t', '-k', socket, '-f', format, '--cache=writeback', '--aio=threads', '-e', '16'],
    join(folder, 'image'),
  ],
  named: false,
})

export const HITHER: ServerKind = {
  name: 'hither',
  programs: [],
  command: (socket, folder) => child('nbd-hither.ts', socket, join(folder, 'data')),
  named: true,
}
export const QEMU_RAW: ServerKind = qemu('raw')
export const OTHERS: readonly ServerKind[] = [
  qemu('qcow2'),
  {
    name: 'nbdkit file',
    programs: ['nbdkit', 'truncate'],
    prepare: ['truncate', '-s', String(EXPORT_BYTES), 'image'],
    command: (socket, folder) => ['nbdkit', '-f', '-U', socket, 'file', join(folder, 'image')],
    named: false,
  },
  {
    name: 'Node, doing nothing',
    programs: [],
    command: (socket) => child('nbd-nothing.ts', socket),
    named: false,
  },
]

export function missingPrograms(programs: readonly string[]): string[] {
  return programs.filter(
    (program) => spawnSync('sh', ['-c', 'command -v -- "$0"', program], { stdio: 'ignore' }).status !== 0,
  )
}

export class RunningServer implements AsyncDisposable {
  readonly name: string
  readonly uri: string
  readonly #child: ChildProcess
  readonly #scratch: Scratch

  private constructor(kind: ServerKind, socket: string, process: ChildProcess, scratch: Scratch) {
    this.name = kind.name
    this.uri = `nbd+unix:///${kind.named ? EXPORT_NAME : ''}?socket=${socket}`
    this.#child = process
    this.#scratch = scratch
  }

  /** Resolves when somebody listens on its socket. */
  static async start(kind: ServerKind, dir: string | undefined): Promise<RunningServer> {
    const scratch = await scratchFolder(dir)
    if (kind.prepare !== undefined) {
      const [program, ...args] = kind.prepare as [string, ...string[]]
      const prepared = spawnSync(program, args, { cwd: scratch.path, encoding: 'utf8' })
      if (prepared.status !== 0) throw new Error(`${program} failed: ${prepared.stderr}`)
    }
    const socket = join(scratch.path, 'socket')
    const [program, ...args] = kind.command(socket, scratch.path) as [string, ...string[]]
    // Not of our process group: Ctrl-C is for the bench, which then stops them in order.
    const running = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true })
    let said = ''
    running.stderr.on('data', (text: Buffer) => {
      said = `${said}${text}`.slice(-SAID_CHARACTERS_MAX)
    })
    const server = new RunningServer(kind, socket, running, scratch)
    for (const until = performance.now() + START_WITHIN_MS; !(await answers(socket)); await sleep(30)) {
      if (running.exitCode === null && performance.now() < until) continue
      await server[Symbol.asyncDispose]()
      throw new Error(`${kind.name} did not start: ${said.trim()}`)
    }
    return server
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const gone = new Promise((resolve) => this.#child.once('exit', resolve))
      this.#child.kill('SIGTERM')
      const late = await Promise.race([gone, sleep(5_000, 'late', { ref: false })])
      if (late === 'late') this.#child.kill('SIGKILL')
    }
    await this.#scratch[Symbol.asyncDispose]()
  }
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const client = connect(socket)
    client.once('connect', () => {
      client.destroy()
      resolve(true)
    })
    client.once('error', () => resolve(false))
  })
}
