/** `stats()` and `status()`: one look at all nodes of an embedded cluster, synchronous. */
import type { ClusterStats, ClusterStatus, DiskStatus, NodeStatus, TierStats } from '../api.ts'
import { isHiddenDisk } from '../base/hidden-disks.ts'
import { BLOCK_BYTES, type NodeId, type VDiskId } from '../base/units.ts'
import { compareNodes, type Membership } from '../cluster/membership.ts'
import { type EgroupRecord, keys, type OwnerRecord, type VDiskRecord } from '../cluster/records.ts'
import type { RecordsView } from '../cluster/records-view.ts'
import { vdiskInfo } from '../cvm/administration.ts'
import type { Cvm } from '../cvm/cvm.ts'
import type { DiskTrack } from './disk-track.ts'
import { missingData } from './missing-data.ts'
import type { EmbeddedNode } from './node.ts'

export interface View {
  readonly members: ReadonlyMap<NodeId, EmbeddedNode>
  /** The cluster as the hosts see it. */
  readonly observer: Membership
  readonly vdisks: RecordsView<VDiskRecord>
  readonly owners: RecordsView<OwnerRecord>
  readonly tracks: ReadonlyMap<VDiskId, DiskTrack>
  readonly internalBytes: number
  readonly homeOf: (vdisk: VDiskId) => NodeId | undefined
}

export function clusterStats(view: View): ClusterStats {
  const saved = { zero: 0, dedupe: 0, compression: 0 }
  const written = { bytes: 0, ops: 0 }
  const read = { localBytes: 0, remoteBytes: 0, ops: 0 }
  const localised = { bytes: 0, egroups: 0 }
  const evicted = { bytes: 0, egroups: 0 }
  const nodes: Record<NodeId, { ssd: TierStats; hdd: TierStats }> = {}
  let externalBytes = 0
  let backgroundBytes = 0
  let repairedSlices = 0
  let corruptSlices = 0
  let storedBytes = 0
  let partialBytes = 0
  let copies = 0
  let logicalBytes = 0
  const memory = { cacheBytes: 0, mapBytes: 0, heldMapBytes: 0, fingerprintBytes: 0, egroupBytes: 0 }
  for (const node of [...view.members.keys()].sort(compareNodes)) {
    const member = view.members.get(node)!
    const { io, events, sentBytes } = member.counters()
    saved.zero += io.savedZeroBytes
    saved.dedupe += io.savedDedupeBytes
    saved.compression += io.savedCompressionBytes
    written.bytes += io.writtenBytes
    written.ops += io.writes
    read.localBytes += io.localBytes
    read.remoteBytes += io.remoteBytes
    read.ops += io.reads
    localised.bytes += events.localisedBytes
    localised.egroups += events.localisedEgroups
    evicted.bytes += events.evictedBytes
    evicted.egroups += events.evictedEgroups
    backgroundBytes += events.backgroundBytes
    repairedSlices += events.repairedSlices
    corruptSlices += events.corruptSlices
    externalBytes += sentBytes
    nodes[node] = tiersOf(member)
    const cvm = member.cvm
    if (cvm === undefined) continue
    for (const copy of cvm.store.copies()) {
      if (copy.kind === 'partial') {
        partialBytes += copy.length
      } else {
        storedBytes += copy.length
        copies++
      }
    }
    memory.cacheBytes += cvm.cache.count * BLOCK_BYTES
    memory.mapBytes += cvm.pages.sizeBytes
    memory.fingerprintBytes += cvm.candidates.sizeBytes
    memory.egroupBytes += cvm.directory.sizeBytes
    for (const vdisk of cvm.ownership.owned()) {
      logicalBytes += vdisk.mappedBytes
      memory.heldMapBytes += vdisk.map.heldBytes
    }
  }
  const readBytes = read.localBytes + read.remoteBytes
  const directory = directoryStats(view)
  return {
    logicalBytes,
    storedBytes,
    partialBytes,
    savedBytes: saved,
    written,
    read,
    localReadRatio: readBytes === 0 ? 1 : read.localBytes / readBytes,
    localised,
    evicted,
    backgroundBytes,
    network: { internalBytes: view.internalBytes, externalBytes },
    underReplicatedBytes: directory.underReplicatedBytes,
    copies,
    egroups: directory.egroups,
    repairedSlices,
    corruptSlices,
    memory,
    nodes,
  }
}

export function clusterStatus(view: View): ClusterStatus {
  const reasons: string[] = []
  const nodes = [...view.members.keys()].sort(compareNodes).map((node) => nodeStatus(view, node, reasons))
  const up = nodes.filter((node) => node.cvm === 'up').length
  const { underReplicatedBytes } = directoryStats(view)
  if (underReplicatedBytes > 0)
    reasons.push(`${underReplicatedBytes} bytes have fewer copies than they should`)
  const missing = missingData(view, anyCvm(view))
  const disks = [...view.vdisks.all()]
    .filter(([, entry]) => !isHiddenDisk(entry.value.name))
    .map(([, entry]) => diskStatus(view, entry.value, missing.get(entry.value.id)))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const { name, missingData: what } of disks) {
    if (what !== undefined) reasons.push(`disk ${name}: ${what}`)
  }
  return {
    health: up === 0 ? 'unavailable' : reasons.length > 0 ? 'degraded' : 'healthy',
    reasons,
    nodes,
    disks,
  }
}

/** Bytes of all devices together, all copies counted. */
export function clusterSpace(view: View): TierStats {
  let usedBytes = 0
  let sizeBytes = 0
  for (const member of view.members.values()) {
    const { ssd, hdd } = tiersOf(member)
    usedBytes += ssd.usedBytes + hdd.usedBytes
    sizeBytes += ssd.sizeBytes + hdd.sizeBytes
  }
  return { usedBytes, sizeBytes }
}

/** A copy counts while its node is alive. */
export function validCopies(record: EgroupRecord, isAlive: (node: NodeId) => boolean): number {
  return record.copies.filter((copy) => isAlive(copy.node)).length
}

function directoryStats(view: View): { underReplicatedBytes: number; egroups: number } {
  const cvm = anyCvm(view)
  let underReplicatedBytes = 0
  if (cvm === undefined) return { underReplicatedBytes, egroups: 0 }
  const { directory } = cvm
  for (const [egroup, entry] of directory.all()) {
    const record = entry.value
    if (validCopies(record, (node) => view.observer.isAlive(node)) >= record.rf) continue
    underReplicatedBytes += record.state === 'sealed' ? record.length : (cvm.store.info(egroup)?.length ?? 0)
  }
  return { underReplicatedBytes, egroups: directory.size }
}

function nodeStatus(view: View, node: NodeId, reasons: string[]): NodeStatus {
  const member = view.members.get(node)!
  const record = view.observer.member(node)
  if (member.cvmState !== 'up') reasons.push(`the CVM of ${node} is ${member.cvmState}`)
  const usage = new Map((member.cvm?.store.usage() ?? []).map((device) => [device.id, device]))
  const devices = (record?.devices ?? []).map(({ id, tier, size, failed }) => {
    const used = usage.get(id)
    const isFailed = failed === true || used?.failed === true
    if (isFailed) reasons.push(`device ${id} has failed`)
    return { id, tier, failed: isFailed, usedBytes: used?.usedBytes ?? 0, sizeBytes: used?.sizeBytes ?? size }
  })
  return {
    node,
    block: record?.block ?? '',
    cvm: record?.state === 'draining' && member.cvmState === 'up' ? 'draining' : member.cvmState,
    path: member.path.target,
    devices,
  }
}

function diskStatus(view: View, record: VDiskRecord, missing: string | undefined): DiskStatus {
  const owner = view.owners.value(keys.owner(record.id))
  const home = view.homeOf(record.id) ?? record.node
  const counters = owner && view.members.get(owner.node)?.cvm?.ownership.get(record.id)?.counters
  const total = (counters?.localBytes ?? 0) + (counters?.remoteBytes ?? 0)
  const failover = view.tracks.get(record.id)?.failover
  return {
    ...vdiskInfo(record, owner, home),
    localReadRatio: total === 0 ? 1 : (counters?.localBytes ?? 0) / total,
    readBytes: counters?.readBytes ?? 0,
    writtenBytes: counters?.writtenBytes ?? 0,
    ...(failover === undefined ? {} : { lastFailover: failover }),
    ...(missing === undefined ? {} : { missingData: missing }),
  }
}

function tiersOf(member: EmbeddedNode): { ssd: TierStats; hdd: TierStats } {
  const tiers = { ssd: { usedBytes: 0, sizeBytes: 0 }, hdd: { usedBytes: 0, sizeBytes: 0 } }
  for (const device of member.cvm?.store.usage() ?? []) {
    if (device.failed) continue
    tiers[device.tier].usedBytes += device.usedBytes
    tiers[device.tier].sizeBytes += device.sizeBytes
  }
  return tiers
}

function anyCvm(view: View): Cvm | undefined {
  for (const member of view.members.values()) {
    if (member.cvm !== undefined && member.cvmState === 'up') return member.cvm
  }
  return undefined
}
