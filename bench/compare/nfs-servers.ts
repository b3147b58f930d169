/**
 * NFS servers as processes of their own: `hither start`, and NFS-Ganesha. Ganesha wants a rpcbind of its own, so it runs in
 * namespaces for processes, mounts and network, where nothing of this machine's is in its way; the load goes in there, too.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Scratch, scratchFolder } from '../shared/scratch.ts'

/** Kept of what a server says. */
const SAID_CHARACTERS_MAX = 4_000
const START_WITHIN_MS = 60_000
const STOP_WITHIN_MS = 15_000
const GANESHA_PORTS = { nfs: 2_049, mount: 20_491 }
const ROOT = resolve(import.meta.dirname, '../..')

/** Where an export is, and what has to stand in front of a client's command to come there. */
export interface NfsAddress {
  readonly nfsPort: number
  readonly mountPort: number
  readonly export: string
  readonly enter: readonly string[]
}

export interface NfsServerKind {
  readonly name: string
  command(folder: string): readonly string[]
  /** Where it is; `undefined` when what it has said so far does not tell. */
  address(said: string, folder: string, pid: number): NfsAddress | undefined
}

/** Four nodes, RF2, compression and dedupe on, durability `sync`. */
function hither(name: string, ...where: readonly string[]): NfsServerKind {
  return {
    name,
    command: (folder) => [
      ...[process.execPath, '--import', import.meta.resolve('tsx'), join(ROOT, 'src/main.ts')],
      ...['--control', join(folder, 'control'), 'start', '--json', '--nbd-port', '0', '--nfs-port', '0'],
      ...['--nodes', '4', '--rf', '2', '--ssd', '4GiB', '--hdd', '0', ...where],
    ],
    address(said) {
      const port = /"nfs":"nfs:\/\/[^/"]*:(\d+)/.exec(said)?.[1]
      if (port === undefined) return undefined
      return { nfsPort: Number(port), mountPort: Number(port), export: '/default', enter: [] }
    },
  }
}

function ganesha(name: string, fsal: 'MEM' | 'VFS'): NfsServerKind {
  return {
    name,
    command: (folder) => [
      // Whoever ends `unshare` ends all that it started.
      ...['unshare', '-mnp', '--fork', '--kill-child', '--mount-proc', 'sh', '-euc', GANESHA],
      ...[folder, ganeshaSettings(folder, fsal)],
    ],
    address: (_said, folder, pid) => ({
      nfsPort: GANESHA_PORTS.nfs,
      mountPort: GANESHA_PORTS.mount,
      export: join(folder, 'export'),
      enter: ['nsenter', '-t', String(pid), '-n'],
    }),
  }
}

/** Its name lookups want an address that is not of the loopback device. */
const GANESHA = `
ip link set lo up
ip addr add 192.0.2.1/32 dev lo
mount -t tmpfs run /run
mkdir "$0/export" "$0/recovery"
printf %s "$1" > "$0/ganesha.conf"
rpcbind -w
exec ganesha.nfsd -F -f "$0/ganesha.conf" -L /dev/stderr -p /run/ganesha.pid`

function ganeshaSettings(folder: string, fsal: 'MEM' | 'VFS'): string {
  const { nfs, mount } = GANESHA_PORTS
  return `
NFS_CORE_PARAM { Protocols = 3; NFS_Port = ${nfs}; MNT_Port = ${mount}; Enable_NLM = false; Enable_RQUOTA = false;
  Enable_UDP = false; }
NFSv4 { Graceless = true; RecoveryRoot = "${folder}/recovery"; RecoveryBackend = fs; }
EXPORT { Export_Id = 1; Path = "${folder}/export"; Pseudo = /export; Protocols = 3; Transports = TCP; Access_Type = RW;
  Squash = No_Root_Squash; SecType = sys; FSAL { Name = ${fsal}; } }
LOG { Default_Log_Level = EVENT; }`
}

export const HITHER_MEMORY = hither('hither memory:', '--memory')
export const HITHER_FILE = hither('hither file:', '--data', 'data')
export const GANESHA_MEM = ganesha('ganesha FSAL_MEM', 'MEM')
export const GANESHA_VFS = ganesha('ganesha FSAL_VFS', 'VFS')
export const GANESHA_PROGRAMS = ['ganesha.nfsd', 'rpcbind', 'unshare', 'nsenter', 'ip', 'cc']

export class RunningNfsServer implements AsyncDisposable {
  readonly name: string
  readonly #kind: NfsServerKind
  readonly #child: ChildProcess
  readonly #scratch: Scratch
  #said = ''

  private constructor(kind: NfsServerKind, child: ChildProcess, scratch: Scratch) {
    this.name = kind.name
    this.#kind = kind
    this.#child = child
    this.#scratch = scratch
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on('data', (text: Buffer) => {
        // The beginning tells where it is, the end why it failed.
        const kept = this.#said.slice(0, SAID_CHARACTERS_MAX)
        this.#said = kept + `${this.#said.slice(kept.length)}${text}`.slice(-SAID_CHARACTERS_MAX)
      })
    }
  }

  /** Resolves when `serves` does; asks it again until then. */
  static async start(
    kind: NfsServerKind,
    dir: string | undefined,
    serves: (address: NfsAddress) => Promise<void>,
  ): Promise<RunningNfsServer> {
    const scratch = await scratchFolder(dir)
    const [program, ...args] = kind.command(scratch.path) as [string, ...string[]]
    // Not of our process group: Ctrl-C is for the bench, which then stops them in order.
    const child = spawn(program, args, {
      cwd: scratch.path,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    const server = new RunningNfsServer(kind, child, scratch)
    let failure: unknown
    for (const until = performance.now() + START_WITHIN_MS; ; await sleep(100)) {
      try {
        if (server.address !== undefined) {
          await serves(server.address)
          return server
        }
      } catch (error) {
        failure = error
      }
      if (!server.#ended && performance.now() < until) continue
      const said = server.#said.trim()
      await server[Symbol.asyncDispose]()
      throw new Error(`${kind.name} did not start: ${failure ?? ''} ${said}`)
    }
  }

  get address(): NfsAddress | undefined {
    return this.#kind.address(this.#said, this.#scratch.path, this.#child.pid ?? 0)
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) {
      const gone = new Promise((resolve) => this.#child.once('exit', resolve))
      this.#child.kill('SIGTERM')
      const late = await Promise.race([gone, sleep(STOP_WITHIN_MS, 'late', { ref: false })])
      if (late === 'late') {
        this.#child.kill('SIGKILL')
        await gone
      }
    }
    await this.#scratch[Symbol.asyncDispose]()
  }
}
