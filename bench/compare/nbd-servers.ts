/** NBD servers as processes of their own, on a unix socket each: ours, a Node server that does nothing, and those of others. */
import { spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import { join } from 'node:path'
import { ServerProcess } from './server-process.ts'

export const EXPORT_NAME = 'disk'
export const EXPORT_BYTES = 256 * 1024 * 1024

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

/** A child of this program, on the built engine as this one, in one process, so that a signal reaches it. */
const child = (file: string, ...args: readonly string[]): string[] => [
  process.execPath,
  '--import',
  import.meta.resolve('tsx'),
  '--import',
  new URL('../built.mjs', import.meta.url).href,
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
  readonly #process: ServerProcess

  private constructor(kind: ServerKind, socket: string, process: ServerProcess) {
    this.name = kind.name
    this.uri = `nbd+unix:///${kind.named ? EXPORT_NAME : ''}?socket=${socket}`
    this.#process = process
  }

  /** Resolves when somebody listens on its socket. */
  static async start(kind: ServerKind, dir: string | undefined): Promise<RunningServer> {
    const socketIn = (folder: string): string => join(folder, 'socket')
    const running = await ServerProcess.start(
      kind.name,
      dir,
      (folder) => {
        prepare(kind, folder)
        return kind.command(socketIn(folder), folder)
      },
      (_server, folder) => answers(socketIn(folder)),
    )
    return new RunningServer(kind, socketIn(running.folder), running)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process[Symbol.asyncDispose]()
  }
}

function prepare(kind: ServerKind, folder: string): void {
  if (kind.prepare === undefined) return
  const [program, ...args] = kind.prepare as [string, ...string[]]
  const prepared = spawnSync(program, args, { cwd: folder, encoding: 'utf8' })
  if (prepared.status !== 0) throw new Error(`${program} failed: ${prepared.stderr}`)
}

function answers(socket: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const client = connect(socket)
    client.once('connect', () => {
      client.destroy()
      resolve()
    })
    client.once('error', reject)
  })
}
