/** `hither status`, `stats`, `events`, `curator run`: the cluster as a whole. */
import type { Command } from 'commander'
import type { ClusterStats, ClusterStatus, CuratorReport } from '../../api.ts'
import { formatBytes } from '../../base/format-bytes.ts'
import type { HostDoor } from '../../frontend/control/index.ts'
import { type Bind, type CommandContext, withExample } from '../context.ts'
import { eventJson, eventLine } from '../describe-event.ts'
import { formatCount, formatDuration, formatPairs, formatRatio, formatTable } from '../format.ts'
import { parseCount } from '../parse.ts'
import { nodeTable } from './nodes.ts'

/** Events that `events` prints without `--follow`. */
const RECENT_EVENTS = 100

export function addStatusCommands(program: Command, bind: Bind): void {
  const status = program
    .command('status')
    .description('Shows the health of the cluster, its nodes and its disks.')
    .action(
      bind<[]>((context) =>
        context.withClient(async (client) => {
          const [status, doors] = await Promise.all([
            client.call('cluster.status', {}),
            client.call('cluster.doors', {}),
          ])
          context.print(status, () => describeStatus(context, status, doors))
        }),
      ),
    )
  withExample(status, 'hither status')

  const stats = program
    .command('stats')
    .description('Shows what the cluster stores, saves, reads and moves. Counters grow from its start.')
    .action(
      bind<[]>((context) =>
        context.withClient(async (client) => {
          const stats = await client.call('cluster.stats', {})
          context.print(stats, () => describeStats(context, stats))
        }),
      ),
    )
  withExample(stats, 'hither stats --json')

  const events = program
    .command('events')
    .description('Prints the latest events; with --follow, those that come, until interrupted.')
    .option('--follow', 'go on with the events that come')
    .option(
      '--last <n>',
      `how many of the latest (default: ${RECENT_EVENTS}, with --follow 0)`,
      parseCount(0, 1_000),
    )
    .action(
      bind<[], { follow?: boolean; last?: number }>((context, options) => {
        const follow = options.follow ?? false
        return printEvents(context, follow, options.last ?? (follow ? 0 : RECENT_EVENTS))
      }),
    )
  withExample(events, 'hither events --follow')
}

export function addCuratorCommands(program: Command, bind: Bind): void {
  const curator = program.command('curator').description('The background scans.')

  const run = curator
    .command('run')
    .description('Runs every scan once, to its end: reclaim, rebuild, tiering, balance, scrub.')
    .action(
      bind<[]>((context) =>
        context.withClient(async (client) => {
          const report = await client.call('curator.run', {})
          context.print(report, () => describeReport(context, report))
        }),
      ),
    )
  withExample(run, 'hither curator run')
}

/** Until interrupted: for `--follow` that is the usual end, not a failure. */
async function printEvents(context: CommandContext, follow: boolean, recent: number): Promise<void> {
  await context.withClient(
    async (client) => {
      const events = client.stream('cluster.events', { recent, follow })
      const stop = () => void client.close()
      context.signal.addEventListener('abort', stop)
      try {
        for await (const event of events) {
          await context.printLine(context.json ? eventJson(event) : eventLine(event))
        }
      } catch (error) {
        if (!context.signal.aborted) throw error
      } finally {
        context.signal.removeEventListener('abort', stop)
      }
    },
    { handlesSignal: true },
  )
}

function describeStatus(context: CommandContext, status: ClusterStatus, doors: readonly HostDoor[]): string {
  const { colors } = context
  const paint = { healthy: colors.green, degraded: colors.yellow, unavailable: colors.red }[status.health]
  const lines = [paint(status.health), ...status.reasons.map((reason) => `  ${reason}`)]
  lines.push('', nodeTable(context, status.nodes, doors))
  if (status.disks.length > 0) lines.push('', statusDiskTable(context, status))
  return lines.join('\n')
}

function statusDiskTable(context: CommandContext, status: ClusterStatus): string {
  return formatTable(
    [
      { title: 'DISK' },
      { title: 'SIZE', align: 'right' },
      { title: 'VM' },
      { title: 'SERVED BY' },
      { title: 'READ', align: 'right' },
      { title: 'LOCAL', align: 'right' },
      { title: 'WRITTEN', align: 'right' },
      { title: 'LAST FAILOVER' },
    ],
    status.disks.map((disk) => [
      disk.name,
      formatBytes(disk.size),
      disk.vm ?? '-',
      disk.owner === disk.home ? disk.owner : { text: disk.owner, paint: context.colors.yellow },
      formatBytes(disk.readBytes),
      formatRatio(disk.localReadRatio),
      formatBytes(disk.writtenBytes),
      disk.lastFailover === undefined
        ? '-'
        : `${disk.lastFailover.from} to ${disk.lastFailover.to}, pause ${formatDuration(disk.lastFailover.pauseMs)}`,
    ]),
    context.colors,
  )
}

function describeStats(context: CommandContext, stats: ClusterStats): string {
  const { read, savedBytes, localised, evicted, network, memory } = stats
  const summary = formatPairs(
    [
      ['data', `${formatBytes(stats.logicalBytes)} in disks`],
      [
        'stored',
        `${formatBytes(stats.storedBytes)} in ${formatCount(stats.copies)} copies of ${formatCount(stats.egroups)} egroups, ${formatBytes(stats.partialBytes)} in partial copies`,
      ],
      [
        'saved',
        `zeros ${formatBytes(savedBytes.zero)}, dedupe ${formatBytes(savedBytes.dedupe)}, compression ${formatBytes(savedBytes.compression)}`,
      ],
      ['written', `${formatBytes(stats.written.bytes)} in ${formatCount(stats.written.ops)} writes`],
      [
        'read',
        `${formatBytes(read.localBytes + read.remoteBytes)} in ${formatCount(read.ops)} reads, ${formatRatio(stats.localReadRatio)} local (${formatBytes(read.remoteBytes)} remote)`,
      ],
      ['localised', `${formatBytes(localised.bytes)} in ${formatCount(localised.egroups)} egroups`],
      ['evicted', `${formatBytes(evicted.bytes)} in ${formatCount(evicted.egroups)} egroups`],
      ['background', formatBytes(stats.backgroundBytes)],
      [
        'network',
        `internal ${formatBytes(network.internalBytes)}, external ${formatBytes(network.externalBytes)}`,
      ],
      ['under-replicated', formatBytes(stats.underReplicatedBytes)],
      [
        'slices',
        `${formatCount(stats.corruptSlices)} corrupt, ${formatCount(stats.repairedSlices)} repaired`,
      ],
      [
        'memory',
        `cache ${formatBytes(memory.cacheBytes)}, maps ${formatBytes(memory.mapBytes)} and ${formatBytes(memory.heldMapBytes)} to be stored, fingerprints ${formatBytes(memory.fingerprintBytes)}, egroups ${formatBytes(memory.egroupBytes)}`,
      ],
    ],
    context.colors,
  )
  const tiers = formatTable(
    [
      { title: 'NODE' },
      { title: 'SSD USED', align: 'right' },
      { title: 'OF', align: 'right' },
      { title: 'HDD USED', align: 'right' },
      { title: 'OF', align: 'right' },
    ],
    Object.entries(stats.nodes).map(([node, { ssd, hdd }]) => [
      node,
      formatBytes(ssd.usedBytes),
      formatBytes(ssd.sizeBytes),
      formatBytes(hdd.usedBytes),
      formatBytes(hdd.sizeBytes),
    ]),
    context.colors,
  )
  return `${summary}\n\n${tiers}`
}

function describeReport(context: CommandContext, report: CuratorReport): string {
  return formatPairs(
    [
      [
        'reclaimed',
        `${formatBytes(report.reclaimedBytes)}, ${formatCount(report.removedEgroups)} egroups removed, ${formatCount(report.compactedEgroups)} compacted`,
      ],
      ['rebuilt', `${formatBytes(report.rebuiltBytes)} in ${formatCount(report.rebuiltEgroups)} egroups`],
      ['moved down', formatBytes(report.movedDownBytes)],
      ['evicted', formatBytes(report.evictedBytes)],
      [
        'scrubbed',
        `${formatBytes(report.scrubbedBytes)}, ${formatCount(report.repairedSlices)} slices repaired`,
      ],
      ['took', formatDuration(report.tookMs)],
      ['incomplete', report.incomplete],
    ],
    context.colors,
  )
}
