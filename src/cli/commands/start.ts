/**
 * `hither start`: a cluster in the foreground.
 *
 * Order of things: open the cluster (which recovers what is in the data folder), open the doors, open the control
 * socket, say ready. At the first signal all of that in reverse: no new control requests, doors drained, cluster drained
 * and checkpointed; exit 0. A second signal does not wait for it (main.ts).
 */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { Cluster, ClusterSettings } from '../../api.ts'
import { HitherError } from '../../base/errors.ts'
import type { ControlServer, ControlServerOptions, HostDoor } from '../../frontend/control/index.ts'
import { type Bind, type CommandContext, withExample } from '../context.ts'
import { controlPathOf, DEFAULT_DATA_FOLDER, givenControlPath } from '../control-path.ts'
import { eventJson, eventLine } from '../describe-event.ts'
import { type DoorParts, Doors } from '../doors.ts'
import { formatTable } from '../format.ts'
import { parseChoice, parseCount, parseDuration, parseSize } from '../parse.ts'

/** The parts that `start` puts together; main.ts loads them only for this command. */
export interface StartParts extends DoorParts {
  openCluster(location: string, settings: ClusterSettings): Promise<Cluster>
  serveControl(cluster: Cluster, options: ControlServerOptions): Promise<ControlServer>
}

interface StartOptions extends Omit<ClusterSettings, 'rf'> {
  rf?: 1 | 2 | 3
  data?: string
  memory?: boolean
  host: string
  nbdPort: number
  nfsPort?: number
  portmap?: boolean
  ssd?: number
  hdd?: number
  leaseTtl?: number
  holdDown?: number
  rebuildDelay?: number
  curatorInterval?: number
  ioDeadline?: number
  cache?: number
  mapMemory?: number
  packThreads?: number
  locality?: NonNullable<ClusterSettings['localityPolicy']>
}

export function addStartCommand(program: Command, bind: Bind, loadParts: () => Promise<StartParts>): void {
  const start = program
    .command('start')
    .summary('Runs a cluster in the foreground.')
    .description(
      'Runs a cluster in the foreground: every host has an NBD door, on which every disk is an export,\n' +
        'and with --nfs-port an NFS door, on which every exported container is a file system.\n' +
        'Settings are fixed when the cluster is created; later starts on the same data may leave them out.',
    )
    .option('--nodes <n>', 'nodes of a new cluster (default: 4)', parseCount(1, 64))
    .option('--rf <n>', 'copies of every byte, 1 to 3 (default: 2)', parseChoice([1, 2, 3]))
    .option('--data <dir>', `folder for the data (default: ${DEFAULT_DATA_FOLDER})`)
    .option('--memory', 'keep everything in memory; gone at the end')
    .option('--ssd <size>', 'SSD of each new node (default: 8GiB)', parseSize)
    .option('--hdd <size>', 'HDD of each new node, 0 for none (default: 32GiB)', parseSize)
    .option('--nodes-per-block <n>', 'nodes per failure domain (default: 1)', parseCount(1, 4))
    .option('--host <address>', 'address of the doors', '127.0.0.1')
    .option('--nbd-port <port>', 'port of the first NBD door, 0 for any', parseCount(0, 65_535), 10_809)
    .option(
      '--nfs-port <port>',
      'port of the first NFS door, 0 for any (default: no NFS; usual: 2049)',
      parseCount(0, 65_535),
    )
    .option('--portmap', 'also answer on port 111 where the first NFS door is, for clients that ask there')
    .option('--lease-ttl <time>', 'silence after which peers take over (default: 2s)', parseDuration)
    .option('--hold-down <time>', 'health before paths return to a CVM (default: 30s)', parseDuration)
    .option('--rebuild-delay <time>', 'absence before copies are rebuilt (default: 1m)', parseDuration)
    .option('--curator-interval <time>', 'time between scans, 0 for none (default: 1m)', parseDuration)
    .option('--io-deadline <time>', 'how long an IO waits for a path (default: 1m)', parseDuration)
    .option(
      '--cache <size>',
      'memory for data, per CVM (default: 1/64 of what there is, 64MiB to 1GiB)',
      parseSize,
    )
    .option('--map-memory <size>', 'memory for maps, per CVM (default: 256MiB)', parseSize)
    .option(
      '--pack-threads <n>',
      'threads that compress large writes, beside the main one (default: the other cores, at most 3)',
      parseCount(0, 64),
    )
    .option(
      '--locality <policy>',
      'how hot data comes to its reader: never, classic, keep, readahead (default: readahead)',
      parseChoice(['never', 'classic', 'keep', 'readahead']),
    )
    .action(
      bind<[], StartOptions>(async (context, options) => {
        if (options.memory && options.data !== undefined) {
          throw new HitherError('BAD_ARGUMENT', '--memory and --data exclude each other')
        }
        if (options.portmap && options.nfsPort === undefined) {
          throw new HitherError('BAD_ARGUMENT', '--portmap tells where NFS is: give --nfs-port, too')
        }
        await runCluster(context, options, await loadParts())
      }),
    )
  withExample(
    start,
    'hither start',
    'hither start --nodes 3 --rf 3 --data /srv/hither --ssd 64GiB --hdd 1TiB',
  )
}

async function runCluster(context: CommandContext, options: StartOptions, parts: StartParts): Promise<void> {
  const { io } = context
  const folder = options.memory ? undefined : (options.data ?? DEFAULT_DATA_FOLDER)
  const location = folder === undefined ? 'memory:' : `file:${resolve(io.cwd, folder)}`
  const usualPath = controlPathOf(io, folder)
  const controlPath = (await givenControlPath(io, context.control)) ?? usualPath

  // What is open, to be closed in reverse; also when a later step fails.
  const open: Array<() => Promise<void>> = []
  try {
    const cluster = await parts.openCluster(location, settingsOf(options))
    open.push(() => cluster.close())
    const events = printEvents(context, cluster)
    open.push(() => events.stop())
    const { host, nbdPort, nfsPort, portmap = false } = options
    const doors = new Doors(cluster, parts, { host, nbdPort, nfsPort, portmap })
    await doors.open()
    open.push(() => doors.close())
    const control = await parts.serveControl(cluster, { path: controlPath, doors })
    open.push(() => control.close())

    printReady(context, { cluster, folder, control: control.path, hosts: doors.list() })
    events.start()
    await fired(io.signal)
    if (!context.json) io.stdout.write('stopping: draining and checkpointing (once more to stop at once)\n')
  } finally {
    await closeAll(open)
  }
}

/** Closes the last first. All are closed; the first failure is told afterwards. */
async function closeAll(open: Array<() => Promise<void>>): Promise<void> {
  const failures: unknown[] = []
  for (const close of open.reverse()) await close().catch((error) => failures.push(error))
  if (failures.length > 0) throw failures[0]
}

/** Only what was said: the rest is the cluster's own defaults, or what it was created with. */
function settingsOf(options: StartOptions): ClusterSettings {
  const settings: Record<keyof ClusterSettings, ClusterSettings[keyof ClusterSettings]> = {
    nodes: options.nodes,
    rf: options.rf,
    ssdBytes: options.ssd,
    hddBytes: options.hdd,
    nodesPerBlock: options.nodesPerBlock,
    leaseTtlMs: options.leaseTtl,
    holdDownMs: options.holdDown,
    rebuildDelayMs: options.rebuildDelay,
    curatorIntervalMs: options.curatorInterval,
    ioDeadlineMs: options.ioDeadline,
    cacheBytes: options.cache,
    mapBytes: options.mapMemory,
    packThreads: options.packThreads,
    localityPolicy: options.locality,
  }
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
}

/** Prints events from `start` on, so that "ready" is the first line; those before it are not lost. */
function printEvents(context: CommandContext, cluster: Cluster): { start(): void; stop(): Promise<void> } {
  const over = new AbortController()
  let begin: (wanted: boolean) => void = () => {}
  const begun = new Promise<boolean>((resolve) => {
    begin = resolve
  })
  const print = async () => {
    const iterator = cluster.events({ signal: over.signal })[Symbol.asyncIterator]()
    // Asking for the first event subscribes; printing waits for "ready".
    let next = iterator.next()
    if (!(await begun)) return
    for (let step = await next; step.done !== true; step = await next) {
      await context.printLine(context.json ? eventJson(step.value) : eventLine(step.value))
      next = iterator.next()
    }
  }
  // A subscription may end by throwing the signal's reason: the end all the same.
  const printed = print().catch(() => {})
  return {
    start: () => begin(true),
    stop: () => {
      over.abort()
      begin(false)
      return printed
    },
  }
}

interface Running {
  readonly cluster: Cluster
  readonly folder: string | undefined
  readonly control: string
  readonly hosts: readonly HostDoor[]
}

function printReady(context: CommandContext, running: Running): void {
  const { colors, io } = context
  const { control, hosts } = running
  if (context.json) {
    io.stdout.write(`${JSON.stringify({ event: 'ready', control, hosts })}\n`)
    return
  }
  const found = control === controlPathOf(io, DEFAULT_DATA_FOLDER) || running.folder === undefined
  const call = found ? io.self : `${io.self} --control ${control}`
  const files = hosts.some((host) => host.nfs !== undefined)
  const doors = formatTable(
    [{ title: 'HOST' }, { title: 'NBD DOOR' }, ...(files ? [{ title: 'NFS DOOR' }] : [])],
    hosts.map((host) => [host.node, host.nbd ?? '', ...(files ? [host.nfs ?? ''] : [])]),
    colors,
  )
  io.stdout.write(
    [
      `${colors.green('hither is up')}: ${hosts.length} nodes, data in ${running.folder ?? 'memory'} (Ctrl-C stops it)`,
      '',
      doors,
      '',
      'Try next, in another terminal:',
      `  ${call} disk create vm1-root --size 10GiB --vm vm1`,
      `  ${call} disk import debian.img vm2-root --vm vm2`,
      `  ${call} status`,
      '',
      '',
    ].join('\n'),
  )
}

function fired(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
