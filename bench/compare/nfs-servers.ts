/**
 * NFS servers as processes of their own: `hither start`, and NFS-Ganesha. Ganesha wants a rpcbind of its own, so it runs in
 * namespaces for processes, mounts and network, where nothing of this machine's is in its way; the load goes in there, too.
 */
import { join, resolve } from 'node:path'
import { ServerProcess } from './server-process.ts'

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
      ...[process.execPath, join(ROOT, 'dist/main.js')],
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
  readonly address: NfsAddress
  readonly #process: ServerProcess

  private constructor(name: string, address: NfsAddress, process: ServerProcess) {
    this.name = name
    this.address = address
    this.#process = process
  }

  /** Resolves when `serves` does; asks it again until then. */
  static async start(
    kind: NfsServerKind,
    dir: string | undefined,
    serves: (address: NfsAddress) => Promise<void>,
  ): Promise<RunningNfsServer> {
    let address: NfsAddress | undefined
    const running = await ServerProcess.start(
      kind.name,
      dir,
      (folder) => kind.command(folder),
      async ({ said, pid }, folder) => {
        address = kind.address(said, folder, pid)
        if (address === undefined) throw new Error('it has not said where it is.')
        await serves(address)
      },
    )
    return new RunningNfsServer(kind.name, address!, running)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#process[Symbol.asyncDispose]()
  }
}
