/** `hither container …`: policies for disks, and exports as file systems. */
import type { Command } from 'commander'
import type { ContainerInfo, ContainerPolicy, ExportOptions } from '../../api.ts'
import { type Bind, type CommandContext, withExample } from '../context.ts'
import { formatTable } from '../format.ts'
import { parseChoice, parseCount } from '../parse.ts'

export function addContainerCommands(program: Command, bind: Bind): void {
  const container = program.command('container').description('Containers: policies for disks.')

  const create = container
    .command('create <name>')
    .description('Creates a container. Disks that are created in it follow its policy.')
    .option('--rf <n>', 'copies of every byte, 1 to 3 (default: that of the cluster)', parseChoice([1, 2, 3]))
    .option('--no-compression', 'store blocks as they are')
    .option('--no-dedupe', 'store equal blocks as often as they are written')
    .option('--min-copies <n>', 'healthy nodes below which writes fail (default: rf)', parseCount(1, 3))
    .option(
      '--durability <kind>',
      'sync: acknowledged means synced; flush: synced at FLUSH and FUA (default: sync)',
      parseChoice(['sync', 'flush']),
    )
    .option('--export', 'export it as a file system; the options below do so, too')
  addExportOptions(create).action(
    bind<[string], ContainerOptions>((context, options, name) =>
      context.withClient(async (client) => {
        const info = await client.call('container.create', { name, policy: policyOf(options) })
        context.print(info, () => `created container ${info.name}: RF ${info.rf}`)
      }),
    ),
  )
  withExample(create, 'hither container create scratch --rf 1 --no-dedupe --durability flush')

  const exported = container
    .command('export <name>')
    .description('Exports a container as a file system, or changes how it is exported. Counts at once.')
  addExportOptions(exported).action(
    bind<[string], ExportFlags>((context, options, name) =>
      context.withClient(async (client) => {
        const info = await client.call('container.export', { name, export: exportOf(options) })
        context.print(info, () => `container ${name} is exported: ${exportText(info.export)}`)
      }),
    ),
  )
  withExample(exported, 'hither container export images --allow 10.0.0.0/8 --read-only')

  const unexport = container
    .command('unexport <name>')
    .description('Ends the export of a container. Its files stay, and are there again with the next export.')
    .action(
      bind<[string]>((context, _, name) =>
        context.withClient(async (client) => {
          const info = await client.call('container.unexport', { name })
          context.print(info, () => `container ${name} is not exported any more; its files stay`)
        }),
      ),
    )
  withExample(unexport, 'hither container unexport images')

  const list = container
    .command('list')
    .description('Lists all containers.')
    .action(
      bind<[]>((context) =>
        context.withClient(async (client) => {
          const containers = await client.call('container.list', {})
          context.print(containers, () => containerTable(context, containers))
        }),
      ),
    )
  withExample(list, 'hither container list')
}

/** How a container is exported. */
function addExportOptions(command: Command): Command {
  return command
    .option(
      '--allow <network>',
      'who may mount it, e.g. 10.0.0.0/8; may be repeated (default: loopback)',
      collect,
    )
    .option('--read-only', 'export it for reading only')
    .option(
      '--squash <whom>',
      'whose requests count as those of nobody: none, root or all (default: root)',
      parseChoice(['none', 'root', 'all']),
    )
}

interface ExportFlags {
  allow?: string[]
  readOnly?: boolean
  squash?: ExportOptions['squash']
}

interface ContainerOptions extends ExportFlags {
  rf?: 1 | 2 | 3
  compression: boolean
  dedupe: boolean
  minCopies?: number
  durability?: 'sync' | 'flush'
  export?: boolean
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value]
}

/** Only what was said. Commander has `true` for a `--no-…` option that was not given. */
function policyOf(options: ContainerOptions): Partial<ContainerPolicy> & { export?: Partial<ExportOptions> } {
  const { rf, minCopies, durability, allow, readOnly, squash } = options
  const isExported =
    options.export === true || allow !== undefined || readOnly === true || squash !== undefined
  return {
    ...(rf === undefined ? {} : { rf }),
    ...(options.compression ? {} : { compression: false }),
    ...(options.dedupe ? {} : { dedupe: false }),
    ...(minCopies === undefined ? {} : { minCopies }),
    ...(durability === undefined ? {} : { durability }),
    ...(isExported ? { export: exportOf(options) } : {}),
  }
}

/** Only what was said. */
function exportOf({ allow, readOnly, squash }: ExportFlags): Partial<ExportOptions> {
  return {
    ...(allow === undefined ? {} : { allow }),
    ...(readOnly === true ? { readOnly } : {}),
    ...(squash === undefined ? {} : { squash }),
  }
}

function containerTable(context: CommandContext, containers: readonly ContainerInfo[]): string {
  const yesNo = (value: boolean) => (value ? 'yes' : 'no')
  return formatTable(
    [
      { title: 'CONTAINER' },
      { title: 'RF', align: 'right' },
      { title: 'MIN COPIES', align: 'right' },
      { title: 'COMPRESSION' },
      { title: 'DEDUPE' },
      { title: 'DURABILITY' },
      { title: 'EXPORT' },
    ],
    containers.map((one) => [
      one.name,
      String(one.rf),
      String(one.minCopies),
      yesNo(one.compression),
      yesNo(one.dedupe),
      one.durability,
      exportText(one.export),
    ]),
    context.colors,
  )
}

function exportText(options: ExportOptions | undefined): string {
  if (options === undefined) return 'no'
  const { allow, readOnly, squash } = options
  return [readOnly ? 'ro' : 'rw', `squash ${squash}`, ...allow].join(', ')
}
