/** Events of the cluster as lines: for people, and as JSON objects for programs. */
import type { ClusterEvent, CuratorReport } from '../api.ts'
import { formatBytes } from '../base/format-bytes.ts'
import { describeDisk } from '../base/hidden-disks.ts'
import { formatCount, formatDuration } from './format.ts'

/** One JSON object whose `event` is the type; the same from `start --json` and `events --json`. */
export function eventJson(event: ClusterEvent): string {
  const { type, ...rest } = event
  return JSON.stringify({ event: type, ...rest })
}

/** `12:03:01.250  takeover  vm1-root: node-1 to node-2 …`, in local time. */
export function eventLine(event: ClusterEvent): string {
  const at = new Date(event.time)
  const two = (value: number) => String(value).padStart(2, '0')
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
  const ms = String(at.getMilliseconds()).padStart(3, '0')
  return `${clock}.${ms}  ${event.type}  ${describeEvent(event)}`
}

export function describeEvent(event: ClusterEvent): string {
  switch (event.type) {
    case 'cvm-started':
      return event.lostCopies === 0 ? event.node : `${event.node}, ${event.lostCopies} copies lost`
    case 'node-added':
    case 'node-removed':
      return event.node
    case 'cvm-down':
      return `${event.node} (${event.reason})`
    case 'path-switched':
      return `host ${event.host}: ${event.from} to ${event.to}`
    case 'takeover':
      return `${describeDisk(event.vdisk)}: ${event.from} to ${event.to} in ${formatDuration(event.tookMs)} (${formatCount(event.replayedFrames)} frames replayed, generation ${event.generation})`
    case 'handover':
      return `${describeDisk(event.vdisk)}: ${event.from} to ${event.to} in ${formatDuration(event.tookMs)} (generation ${event.generation})`
    case 'vm-migrated':
      return `${event.vm}: ${event.from} to ${event.to}`
    case 'egroup-sealed-on-failure':
      return `egroup ${event.egroup}, without ${event.dropped.join(', ')}`
    case 'copy-repaired':
      return `egroup ${event.egroup} on ${event.node} (${formatCount(event.slices)} slices)`
    case 'copy-corrupt':
      return `egroup ${event.egroup} on ${event.node}`
    case 'rebuilt':
      return `${formatCount(event.egroups)} egroups, ${formatBytes(event.bytes)} in ${formatDuration(event.tookMs)}`
    case 'localised':
      return `egroup ${event.egroup} to ${event.node} (${formatBytes(event.bytes)})`
    case 'evicted':
      return `egroup ${event.egroup}: ${event.from} to ${event.to} (${formatBytes(event.bytes)})`
    case 'tiered':
      return `egroup ${event.egroup} on ${event.node} to ${event.to} (${formatBytes(event.bytes)})`
    case 'node-full':
      return `${event.node}: ${formatBytes(event.usedBytes)} of ${formatBytes(event.sizeBytes)}`
    case 'device-failed':
      return `${event.device} of ${event.node}`
    case 'curator':
      return describeReport(event.report)
    case 'events-lost':
      return `${formatCount(event.count)}, because they were not read in time`
    case 'error':
      return `${event.where}: ${event.message} (${event.code})`
  }
}

function describeReport(report: CuratorReport): string {
  const parts = [
    [report.reclaimedBytes, `${formatBytes(report.reclaimedBytes)} reclaimed`],
    [report.rebuiltBytes, `${formatBytes(report.rebuiltBytes)} rebuilt`],
    [report.movedDownBytes, `${formatBytes(report.movedDownBytes)} moved down`],
    [report.evictedBytes, `${formatBytes(report.evictedBytes)} evicted`],
    [report.repairedSlices, `${formatCount(report.repairedSlices)} slices repaired`],
  ] as const
  const did = parts.filter(([amount]) => amount > 0).map(([, text]) => text)
  return `${did.length === 0 ? 'nothing to do' : did.join(', ')}, in ${formatDuration(report.tookMs)}`
}
