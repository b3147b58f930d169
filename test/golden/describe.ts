/**
 * Answers of a simulated cluster as lines that stay the same from run to run and from one version to the next: sizes with
 * one decimal, times as the power of ten they stay under, no time stamps.
 */
import type { ClusterEvent, ClusterStats, ClusterStatus } from '../../src/api.ts'
import type { HitherError } from '../../src/base/errors.ts'
import { formatBytes } from '../../src/base/format-bytes.ts'
import { describeEvent } from '../../src/cli/describe-event.ts'
import type { Cvm } from '../../src/cvm/cvm.ts'
import type { SimCluster } from '../../src/sim/cluster.ts'
import { GARBLED } from './blocks.ts'

const TIMES: ReadonlyArray<readonly [ms: number, text: string]> = [
  [1, '1 ms'],
  [10, '10 ms'],
  [100, '100 ms'],
  [1_000, '1 s'],
  [10_000, '10 s'],
  [60_000, '1 min'],
  [600_000, '10 min'],
]

/** `< 100 ms`: virtual time, coarse. */
export function roughly(ms: number): string {
  return `< ${TIMES.find(([limit]) => ms < limit)?.[1] ?? '1 day'}`
}

export function percent(part: number, whole: number): string {
  return whole === 0 ? '-' : `${Math.round((100 * part) / whole)} %`
}

/** Ids of egroups tell how many were tried before, and nothing to the reader. */
export function describeError(error: HitherError): string {
  return `${error.code}: ${error.message.replace(/\begroup \d+/g, 'an egroup')}`
}

/** `0 B to 1 MiB: value 3`, one line for each run of equal values. */
export function describeValues(values: readonly number[], from: number, bytesEach: number): string[] {
  const lines: string[] = []
  for (let start = 0; start < values.length; ) {
    let end = start
    while (end < values.length && values[end] === values[start]) end++
    const value = values[start]
    const what = value === GARBLED ? 'GARBLED' : value === 0 ? 'zeros' : `value ${value}`
    lines.push(`${formatBytes(from + start * bytesEach)} to ${formatBytes(from + end * bytesEach)}: ${what}`)
    start = end
  }
  return lines
}

/** Events of one kind that differ in their egroup only, and follow each other, are one line. */
export function describeEvents(events: readonly ClusterEvent[]): string[] {
  const lines: string[] = []
  let group: { text: string; count: number; bytes: number | undefined } | undefined
  const flush = (): void => {
    if (group === undefined) return
    const count = group.count === 1 ? '' : `${group.count} × `
    const bytes = group.bytes === undefined ? '' : ` (${formatBytes(group.bytes)})`
    lines.push(`${count}${group.text}${bytes}`)
  }
  for (const event of events) {
    const text = eventText(event)
    const bytes = 'bytes' in event ? event.bytes : undefined
    if (group?.text === text) {
      group.count++
      if (bytes !== undefined) group.bytes = (group.bytes ?? 0) + bytes
    } else {
      flush()
      group = { text, count: 1, bytes }
    }
  }
  flush()
  return lines.length === 0 ? ['none'] : lines
}

function eventText(event: ClusterEvent): string {
  switch (event.type) {
    case 'takeover':
    case 'handover':
      return `${event.type} of ${event.vdisk}: ${event.from} to ${event.to}, generation ${event.generation}`
    case 'egroup-sealed-on-failure':
      return `${event.type}: without ${event.dropped.join(', ')}`
    case 'copy-repaired':
    case 'copy-corrupt':
      return `${event.type}: on ${event.node}`
    case 'localised':
      return `localised: to ${event.node}`
    case 'evicted':
      return `evicted: ${event.from} to ${event.to}`
    case 'tiered':
      return `tiered: on ${event.node} to ${event.to}`
    case 'rebuilt':
      return `rebuilt: ${event.egroups} egroups`
    case 'curator':
      return 'curator: a scan has ended'
    case 'error':
      return `error: ${event.where}: ${event.code}`
    default:
      return `${event.type}: ${describeEvent(event)}`
  }
}

export function describeStatus(status: ClusterStatus): string[] {
  return [
    `${status.health}${status.reasons.length === 0 ? '' : `: ${status.reasons.join('; ')}`}`,
    ...status.nodes.map(({ node, cvm, path }) =>
      path === node ? `${node} is ${cvm}` : `${node} is ${cvm}, its host goes to ${path}`,
    ),
    ...status.disks.map(
      ({ name, home, owner, generation }) =>
        `${name} of ${home} is served by ${owner}, generation ${generation}`,
    ),
  ]
}

export function describeSpace(stats: ClusterStats): string[] {
  return Object.entries(stats.nodes).map(([node, { ssd, hdd }]) => {
    const tiers = [
      ['ssd', ssd],
      ['hdd', hdd],
    ] as const
    const parts = tiers
      .filter(([, { sizeBytes }]) => sizeBytes > 0)
      .map(([tier, { usedBytes, sizeBytes }]) => `${tier} ${percent(usedBytes, sizeBytes)}`)
    return `${node}  ${parts.length === 0 ? 'down' : parts.join('  ')}`
  })
}

/** One line for each egroup of the stream: its state, the bytes of its log, the nodes and tiers of its copies. */
export async function describeCopies(sim: SimCluster, stream: number): Promise<string[]> {
  const cvms = liveCvms(sim)
  const first = cvms[0]
  if (first === undefined) return ['no CVM is up']
  const rows: string[] = []
  for (const { egroup, entry } of await first.directory.ofStream(stream)) {
    const { state, length, copies } = entry.value
    const places = copies.map(({ node, tier }) => {
      const cvm = sim.cvm(node)
      return `${node} ${cvm?.store.info(egroup)?.tier ?? tier}${cvm === undefined ? ' (down)' : ''}`
    })
    const held = cvms.flatMap((cvm) => {
      const info = cvm.store.info(egroup)
      return info?.kind === 'partial' ? [`, and ${formatBytes(info.length)} of it on ${cvm.node}`] : []
    })
    const bytes = state === 'sealed' ? length : openLength(sim, egroup, copies[0]?.node)
    rows.push(`${state} egroup of ${formatBytes(bytes)} on ${places.join(', ')}${held.join('')}`)
  }
  return counted(rows)
}

/** How many copies each node has, and of how many egroups of the stream. */
export async function describeSpread(sim: SimCluster, stream: number): Promise<string[]> {
  const counts = new Map<string, number>(sim.cluster.nodes.map((node) => [node, 0]))
  for (const { entry } of (await liveCvms(sim)[0]?.directory.ofStream(stream)) ?? []) {
    for (const { node } of entry.value.copies) counts.set(node, (counts.get(node) ?? 0) + 1)
  }
  return [...counts].map(([node, count]) => `${node} has ${count} ${count === 1 ? 'copy' : 'copies'}`)
}

function openLength(sim: SimCluster, egroup: number, node: string | undefined): number {
  return (node === undefined ? undefined : sim.cvm(node)?.store.info(egroup)?.length) ?? 0
}

function liveCvms(sim: SimCluster): Cvm[] {
  return sim.cluster.status().nodes.flatMap(({ node, cvm }) => (cvm === 'up' ? (sim.cvm(node) ?? []) : []))
}

/** Equal lines that follow each other are one. */
function counted(rows: readonly string[]): string[] {
  const lines: string[] = []
  for (let start = 0; start < rows.length; ) {
    let end = start
    while (rows[end] === rows[start]) end++
    lines.push(end - start === 1 ? rows[start]! : `${end - start} × ${rows[start]}`)
    start = end
  }
  return lines.length === 0 ? ['none'] : lines
}
