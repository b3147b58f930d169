/** `hither disk …`: vDisks, their snapshots and clones, import and export. */
import type { Command } from 'commander'
import type { DiskStatus, SnapshotInfo, VDiskInfo } from '../../api.ts'
import { HitherError } from '../../base/errors.ts'
import { formatBytes } from '../../base/format-bytes.ts'
import { type Bind, type CommandContext, withExample } from '../context.ts'
import { formatDuration, formatPairs, formatRatio, formatTable } from '../format.ts'
import { parseSize } from '../parse.ts'
import { exportDisk } from '../transfer/export.ts'
import { type ImportOptions, importDisk, type TransferResult } from '../transfer/import.ts'

interface PlaceOptions {
  vm?: string
  node?: string
  container?: string
}

export function addDiskCommands(program: Command, bind: Bind): void {
  const disk = program.command('disk').description('Virtual disks: create, list, copy in and out, snapshot.')
  addLifeCommands(disk, bind)
  addSnapshotCommands(disk, bind)
  addTransferCommands(disk, bind)
}

function addLifeCommands(disk: Command, bind: Bind): void {
  const create = disk
    .command('create <name>')
    .description('Creates a thin disk. It is an NBD export of that name on every host at once.')
    .requiredOption('--size <size>', 'size of the disk, up to 64TiB', parseSize)
    .action(
      bind<[string], PlaceOptions & { size: number }>((context, options, name) =>
        context.withClient(async (client) => {
          const { size, vm, node, container } = options
          const info = await client.call('disk.create', { name, size, vm, node, container })
          context.print(info, () => `created ${describe(info)}`)
        }),
      ),
    )
  withPlace(create, true)
  withExample(create, 'hither disk create vm1-root --size 10GiB --vm vm1 --node node-1')

  const list = disk
    .command('list')
    .description('Lists all disks.')
    .action(
      bind<[]>((context) =>
        context.withClient(async (client) => {
          const disks = await client.call('disk.list', {})
          context.print(disks, () => diskTable(context, disks))
        }),
      ),
    )
  withExample(list, 'hither disk list')

  const show = disk
    .command('show <name>')
    .description('Shows one disk: where it is served, what it has read and written, its last failover.')
    .action(bind<[string]>(showDisk))
  withExample(show, 'hither disk show vm1-root')

  const rm = disk
    .command('rm <name>')
    .description(
      'Removes a disk. Refused (exit 5) while it is in use. Space is free after the next Curator run.',
    )
    .action(
      bind<[string]>((context, _, name) =>
        context.withClient(async (client) => {
          await client.call('disk.remove', { name })
          context.print({ removed: name }, () => `removed disk ${name}`)
        }),
      ),
    )
  withExample(rm, 'hither disk rm vm1-root')

  const resize = disk
    .command('resize')
    .argument('<name>')
    .argument('[size]', 'the new size', parseSize)
    .option('--size <size>', 'the new size, said as an option', parseSize)
    .option('--discard', 'shrink even over written data, which is lost')
    .description(
      'Grows or shrinks a disk. Shrinking over written data is refused (exit 5) without --discard.',
    )
    .action(
      bind<[string, number | undefined], { size?: number; discard?: boolean }>(
        (context, options, name, given) => {
          const size = given ?? options.size
          if (size === undefined)
            throw new HitherError('BAD_ARGUMENT', 'say the new size: disk resize NAME 20GiB')
          return context.withClient(async (client) => {
            const discardData = options.discard ?? false
            const info = await client.call('disk.resize', { name, size, discardData })
            context.print(info, () => `resized disk ${name} to ${formatBytes(info.size)}`)
          })
        },
      ),
    )
  withExample(resize, 'hither disk resize vm1-root 20GiB', 'hither disk resize vm1-root 5GiB --discard')
}

function addSnapshotCommands(disk: Command, bind: Bind): void {
  const snapshot = disk
    .command('snapshot <name> <snapshot>')
    .description('Keeps the disk as it is now under a name of its own. At once, whatever the size.')
    .action(
      bind<[string, string]>((context, _, name, snapshot) =>
        context.withClient(async (client) => {
          const info = await client.call('disk.snapshot', { name, snapshot })
          context.print(info, () => `kept snapshot ${snapshot} of disk ${name}`)
        }),
      ),
    )
  withExample(snapshot, 'hither disk snapshot vm1-root before-upgrade')

  const snapshots = disk
    .command('snapshots <name>')
    .description('Lists the snapshots of a disk.')
    .action(
      bind<[string]>((context, _, name) =>
        context.withClient(async (client) => {
          const list = await client.call('disk.snapshots', { name })
          context.print(list, () => snapshotTable(context, list))
        }),
      ),
    )
  withExample(snapshots, 'hither disk snapshots vm1-root')

  const remove = disk
    .command('snapshot-rm <name> <snapshot>')
    .description('Removes a snapshot. The disk and its clones stay.')
    .action(
      bind<[string, string]>((context, _, name, snapshot) =>
        context.withClient(async (client) => {
          await client.call('disk.remove-snapshot', { name, snapshot })
          context.print(
            { removed: snapshot, disk: name },
            () => `removed snapshot ${snapshot} of disk ${name}`,
          )
        }),
      ),
    )
  withExample(remove, 'hither disk snapshot-rm vm1-root before-upgrade')

  const clone = disk
    .command('clone <source> <name>')
    .option('--snapshot <snapshot>', 'start from this snapshot (default: as the disk is now)')
    .description('Makes a writable disk that starts as another is, or was. At once, whatever the size.')
    .action(
      bind<[string, string], PlaceOptions & { snapshot?: string }>((context, options, source, name) =>
        context.withClient(async (client) => {
          const { snapshot, vm, node } = options
          const info = await client.call('disk.clone', { source, name, snapshot, vm, node })
          context.print(info, () => `cloned ${source} to ${describe(info)}`)
        }),
      ),
    )
  withPlace(clone, false)
  withExample(clone, 'hither disk clone vm1-root vm2-root --snapshot before-upgrade --vm vm2')
}

function addTransferCommands(disk: Command, bind: Bind): void {
  const importCommand = disk
    .command('import <file> <name>')
    .option('--size <size>', 'size of a new disk (default: that of the image)', parseSize)
    .option('--overwrite', 'replace what a disk that is there already holds')
    .description(
      'Copies a raw image onto a disk, which is created when it is not there; "-" reads standard input.\n' +
        'What is zero costs nothing. A disk that holds data is refused (exit 5) without --overwrite.\n' +
        'When it does not come to its end, a disk that it created is removed.',
    )
    .action(
      bind<[string, string], ImportOptions>(async (context, options, file, name) => {
        const result = await importDisk(context, file, name, options)
        context.print(result, () => `imported ${file} as ${summary(result)}`)
      }),
    )
  withPlace(importCommand, true)
  withExample(
    importCommand,
    'hither disk import debian.img vm1-root --vm vm1',
    'zcat debian.img.gz | hither disk import - vm1-root',
  )

  const exportCommand = disk
    .command('export <name> <file>')
    .description(
      'Copies a disk to a raw, sparse image; "-" writes standard output.\n' +
        'The file gets its name when it is complete.',
    )
    .action(
      bind<[string, string]>(async (context, _, name, file) => {
        const result = await exportDisk(context, name, file)
        // Standard output is the image itself then, so that the result is told on the other stream.
        if (file === '-') context.io.stderr.write(`exported ${summary(result)}\n`)
        else context.print(result, () => `exported ${summary(result)} to ${file}`)
      }),
    )
  withExample(
    exportCommand,
    'hither disk export vm1-root vm1.img',
    'hither disk export vm1-root - | gzip > vm1.img.gz',
  )
}

function withPlace(command: Command, container: boolean): void {
  command.option('--vm <vm>', 'the VM that uses the disk; made when there is none of this name')
  command.option('--node <node>', 'the node that serves the disk (default: that of its VM)')
  if (container)
    command.option('--container <container>', 'the container whose policy applies (default: default)')
}

async function showDisk(context: CommandContext, _: unknown, name: string): Promise<void> {
  await context.withClient(async (client) => {
    const info = await client.call('disk.show', { name })
    const [status, snapshots, doors] = await Promise.all([
      client.call('cluster.status', {}),
      client.call('disk.snapshots', { name }),
      client.call('cluster.doors', {}),
    ])
    const disk = status.disks.find((one) => one.name === name)
    const door = doors.find((one) => one.node === info.home)?.nbd
    const nbd = door === undefined ? undefined : `${door}/${encodeURIComponent(name)}`
    const shown = { ...info, ...disk, snapshots, ...(nbd === undefined ? {} : { nbd }) }
    context.print(shown, () => diskPairs(context, info, disk, snapshots, nbd))
  })
}

function diskPairs(
  context: CommandContext,
  info: VDiskInfo,
  status: DiskStatus | undefined,
  snapshots: readonly SnapshotInfo[],
  nbd: string | undefined,
): string {
  const failover = status?.lastFailover
  const away = info.owner === info.home ? '' : ` (home is ${info.home})`
  const pairs: Array<[string, string | undefined]> = [
    ['disk', info.readOnly ? `${info.name} (read-only)` : info.name],
    ['size', formatBytes(info.size)],
    ['vm', info.vm],
    ['served by', `${info.owner}${away}`],
    ['container', info.container],
    ['generation', String(info.generation)],
    ['nbd', nbd],
    ['read', status && `${formatBytes(status.readBytes)}, ${formatRatio(status.localReadRatio)} local`],
    ['written', status && formatBytes(status.writtenBytes)],
    ['snapshots', snapshots.length === 0 ? undefined : snapshots.map((one) => one.name).join(', ')],
    [
      'last failover',
      failover &&
        `${failover.at}, ${failover.from} to ${failover.to}, pause ${formatDuration(failover.pauseMs)}`,
    ],
  ]
  return formatPairs(pairs, context.colors)
}

function diskTable(context: CommandContext, disks: readonly VDiskInfo[]): string {
  if (disks.length === 0) return 'no disks'
  return formatTable(
    [
      { title: 'DISK' },
      { title: 'SIZE', align: 'right' },
      { title: 'VM' },
      { title: 'SERVED BY' },
      { title: 'HOME' },
      { title: 'CONTAINER' },
    ],
    disks.map((disk) => [
      disk.name,
      formatBytes(disk.size),
      disk.vm ?? '-',
      disk.owner === disk.home ? disk.owner : { text: disk.owner, paint: context.colors.yellow },
      disk.home,
      disk.container,
    ]),
    context.colors,
  )
}

function snapshotTable(context: CommandContext, snapshots: readonly SnapshotInfo[]): string {
  if (snapshots.length === 0) return 'no snapshots'
  return formatTable(
    [{ title: 'SNAPSHOT' }, { title: 'SIZE', align: 'right' }, { title: 'KEPT AT' }],
    snapshots.map((one) => [one.name, formatBytes(one.size), new Date(one.createdAt).toISOString()]),
    context.colors,
  )
}

function describe(info: VDiskInfo): string {
  const vm = info.vm === undefined ? '' : ` of ${info.vm}`
  return `disk ${info.name}${vm}: ${formatBytes(info.size)}, served by ${info.owner}`
}

function summary(result: TransferResult): string {
  const rate = `${formatBytes((result.dataBytes / Math.max(1, result.tookMs)) * 1_000)}/s`
  const took = formatDuration(result.tookMs)
  return `disk ${result.disk}: ${formatBytes(result.size)}, ${formatBytes(result.dataBytes)} of data in ${took} (${rate})`
}
