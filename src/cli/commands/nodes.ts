/** `hither vm …`, `cvm …`, `node …`, `device …`: what runs where, and what breaks. */
import type { Command } from 'commander'
import type { NodeStatus, TierStats } from '../../api.ts'
import { formatBytes } from '../../base/format-bytes.ts'
import type { HostDoor } from '../../frontend/control/index.ts'
import { type Bind, type CommandContext, withExample } from '../context.ts'
import { type Cell, formatTable } from '../format.ts'
import { parseSize } from '../parse.ts'

export function addVmCommands(program: Command, bind: Bind): void {
  const vm = program.command('vm').description('VMs: where they run.')

  const list = vm
    .command('list')
    .description('Lists all VMs and the nodes that they run on.')
    .action(
      bind<[]>((context) =>
        context.withClient(async (client) => {
          const vms = await client.call('vm.list', {})
          context.print(vms, () => {
            if (vms.length === 0) return 'no VMs'
            const rows = vms.map((one) => [one.name, one.node])
            return formatTable([{ title: 'VM' }, { title: 'NODE' }], rows, context.colors)
          })
        }),
      ),
    )
  withExample(list, 'hither vm list')

  const move = vm
    .command('move <vm>')
    .description('Says that a VM runs on another node now: its disks follow at once, hot data as it is read.')
    .requiredOption('--to <node>', 'the node that it runs on')
    .action(
      bind<[string], { to: string }>((context, { to }, name) =>
        context.withClient(async (client) => {
          await client.call('vm.move', { vm: name, to })
          context.print({ vm: name, node: to }, () => `${name} runs on ${to}; its disks are served there`)
        }),
      ),
    )
  withExample(move, 'hither vm move vm1 --to node-2')
}

export function addCvmCommands(program: Command, bind: Bind): void {
  const cvm = program.command('cvm').description('Controllers: make them fail, bring them back.')

  const fail = cvm
    .command('fail <node>')
    .description('Kills the CVM of a node as a crash would; a peer takes over its disks.')
    .option('--hang', 'it stops answering instead of dying')
    .action(
      bind<[string], { hang?: boolean }>((context, options, node) =>
        context.withClient(async (client) => {
          const hang = options.hang ?? false
          await client.call('cvm.fail', { node, hang })
          context.print({ node, cvm: hang ? 'hung' : 'down' }, () =>
            hang ? `the CVM of ${node} hangs` : `the CVM of ${node} is down`,
          )
        }),
      ),
    )
  withExample(fail, 'hither cvm fail node-2', 'hither cvm fail node-2 --hang')

  const recover = cvm
    .command('recover <node>')
    .description('Starts the CVM of a node again. Paths and disks return after the hold-down time.')
    .action(
      bind<[string]>((context, _, node) =>
        context.withClient(async (client) => {
          await client.call('cvm.recover', { node })
          context.print(
            { node, cvm: 'up' },
            () => `the CVM of ${node} is up; its disks return after the hold-down time`,
          )
        }),
      ),
    )
  withExample(recover, 'hither cvm recover node-2')
}

export function addNodeCommands(program: Command, bind: Bind): void {
  const node = program.command('node').description('Nodes of the cluster.')

  const list = node
    .command('list')
    .description('Lists all nodes with their devices and doors.')
    .action(
      bind<[]>((context) =>
        context.withClient(async (client) => {
          const [status, doors] = await Promise.all([
            client.call('cluster.status', {}),
            client.call('cluster.doors', {}),
          ])
          const nodes = status.nodes.map((one) => ({
            ...one,
            ...doors.find((door) => door.node === one.node),
          }))
          context.print(nodes, () => nodeTable(context, status.nodes, doors))
        }),
      ),
    )
  withExample(list, 'hither node list')

  const add = node
    .command('add')
    .description('Adds a node, with a door of its own.')
    .option('--ssd <size>', 'its SSD (default: as the cluster was created)', parseSize)
    .option('--hdd <size>', 'its HDD, 0 for none (default: as the cluster was created)', parseSize)
    .action(
      bind<[], { ssd?: number; hdd?: number }>((context, { ssd, hdd }) =>
        context.withClient(async (client) => {
          const door = await client.call('node.add', { ssdBytes: ssd, hddBytes: hdd })
          context.print(door, () => `added ${door.node}, ${describeDoor(door)}`)
        }),
      ),
    )
  withExample(add, 'hither node add --ssd 16GiB')

  const remove = node
    .command('remove <node>')
    .description('Drains a node, then removes it. Refused (exit 5) when too few nodes would be left.')
    .action(
      bind<[string]>((context, _, name) =>
        context.withClient(async (client) => {
          await client.call('node.remove', { node: name })
          context.print({ removed: name }, () => `removed ${name}; its copies are on other nodes now`)
        }),
      ),
    )
  withExample(remove, 'hither node remove node-4')
}

export function addDeviceCommands(program: Command, bind: Bind): void {
  const device = program.command('device').description('Devices: make them fail.')

  const fail = device
    .command('fail <device>')
    .description('A device dies: its copies are rebuilt from the others. "node list" names the devices.')
    .action(
      bind<[string]>((context, _, name) =>
        context.withClient(async (client) => {
          await client.call('device.fail', { device: name })
          context.print({ device: name, failed: true }, () => `device ${name} has failed`)
        }),
      ),
    )
  withExample(fail, 'hither device fail node-1.ssd0')
}

/** One line per node; a failed device is red. NFS doors have a column when there are any. */
export function nodeTable(
  context: CommandContext,
  nodes: readonly NodeStatus[],
  doors: readonly HostDoor[],
): string {
  const { colors } = context
  const files = doors.some((door) => door.nfs !== undefined)
  return formatTable(
    [
      { title: 'NODE' },
      { title: 'BLOCK' },
      { title: 'CVM' },
      { title: 'PATH' },
      { title: 'DEVICES' },
      { title: 'NBD DOOR' },
      ...(files ? [{ title: 'NFS DOOR' }] : []),
    ],
    nodes.map((node): Cell[] => {
      const door = doors.find((one) => one.node === node.node)
      return [
        node.node,
        node.block,
        node.cvm === 'up' ? node.cvm : { text: node.cvm, paint: colors.red },
        node.path === node.node ? node.path : { text: node.path, paint: colors.yellow },
        devicesCell(context, node),
        door?.nbd ?? '-',
        ...(files ? [door?.nfs ?? '-'] : []),
      ]
    }),
    colors,
  )
}

function devicesCell(context: CommandContext, node: NodeStatus): Cell {
  const failed = node.devices.some((device) => device.failed)
  const text = node.devices
    .map((device) => `${device.id} ${device.failed ? 'failed' : usage(device)}`)
    .join(', ')
  return failed ? { text, paint: context.colors.red } : text
}

function usage(tier: TierStats): string {
  return `${formatBytes(tier.usedBytes)} of ${formatBytes(tier.sizeBytes)}`
}

function describeDoor(door: HostDoor): string {
  const urls = [door.nbd, door.nfs].filter((url) => url !== undefined)
  if (urls.length > 0) return `its ${urls.length === 1 ? 'door is' : 'doors are'} ${urls.join(' and ')}`
  return door.problem === undefined ? 'without a door' : `without a door: ${door.problem}`
}
