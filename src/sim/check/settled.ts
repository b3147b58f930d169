/**
 * What holds when nothing is going on: every egroup of the directory is sealed or open with RF full copies in distinct
 * failure domains, equal slot by slot, free of rot, and with every slot that a map refers to; no node holds a full copy that the directory does not know, nor a
 * unit of space that no copy has.
 */
import type { Bitset } from '../../base/bitset.ts'
import type { NodeId } from '../../base/units.ts'
import type { EgroupRecord } from '../../cluster/records.ts'
import type { Cvm } from '../../cvm/cvm.ts'
import type { SliceRead } from '../../extent-store/types.ts'
import type { SimCluster } from '../cluster.ts'
import { liveSlots } from './live-slots.ts'
import { unitFaults } from './space.ts'

/** Every way in which the cluster is not as it should be at rest; empty when all is well. */
export async function settledFaults(sim: SimCluster): Promise<string[]> {
  const found: string[] = []
  const cvms = new Map<NodeId, Cvm>()
  for (const node of sim.cluster.nodes) {
    const cvm = sim.cvm(node)
    if (cvm === undefined) found.push(`${node} is down`)
    else cvms.set(node, cvm)
  }
  const first = cvms.values().next().value
  if (first === undefined) return ['no CVM is up']
  const members = new Map(first.membership.members().map((member) => [member.node, member]))
  const blocks = new Set([...members.values()].map((member) => member.block)).size
  await first.directory.catchUp()
  const live = await liveSlots(sim, first)
  const listed = new Map<NodeId, Set<number>>()
  for (const [egroup, { value: record }] of first.directory.all()) {
    const nodes = record.copies.map((copy) => copy.node)
    const where = `egroup ${egroup} of stream ${record.stream} (${record.state}, ${record.length} bytes, on ${nodes.join(' ')})`
    if (new Set(nodes).size !== nodes.length) found.push(`${where}: two copies on one node`)
    if (nodes.length !== record.rf) found.push(`${where}: ${nodes.length} copies, RF is ${record.rf}`)
    const domains = new Set(nodes.map((node) => members.get(node)?.block)).size
    if (domains < Math.min(record.rf, blocks)) found.push(`${where}: only ${domains} failure domains`)
    for (const node of nodes) {
      const own = listed.get(node) ?? new Set()
      listed.set(node, own.add(egroup))
    }
    found.push(...(await copyFaults(egroup, nodes, cvms, record.state, live.get(egroup), where)))
  }
  for (const [node, cvm] of cvms) {
    for (const copy of cvm.store.copies()) {
      if (copy.kind === 'full' && !listed.get(node)?.has(copy.egroup)) {
        found.push(`${node} holds a full copy of egroup ${copy.egroup}, which is not listed there`)
      }
    }
  }
  found.push(...unitFaults(sim))
  return found
}

async function copyFaults(
  egroup: number,
  nodes: readonly NodeId[],
  cvms: ReadonlyMap<NodeId, Cvm>,
  state: EgroupRecord['state'],
  live: Bitset | undefined,
  where: string,
): Promise<string[]> {
  const found: string[] = []
  const contents: Array<{ node: NodeId; slices: Map<number, string> }> = []
  for (const node of nodes) {
    const store = cvms.get(node)?.store
    const info = store?.info(egroup)
    if (store === undefined || info === undefined) {
      found.push(`${where}: ${node} has no copy`)
      continue
    }
    if (info.kind !== 'full') found.push(`${where}: the copy of ${node} is partial`)
    if (state === 'sealed' && info.state !== 'sealed') found.push(`${where}: the copy of ${node} is open`)
    const slots = (await store.slots(egroup)).map(({ slot }) => slot)
    const held = new Set(slots)
    live?.forEach((slot) => {
      if (!held.has(slot)) found.push(`${where}: ${node} lacks slot ${slot}, which is in use`)
    })
    const slices = new Map<number, string>()
    for (const read of slots.length === 0 ? [] : await store.readSlots(egroup, slots)) {
      if (read.status === 'ok') slices.set(read.slice.slot, imprint(read))
      else found.push(`${where}: slot ${read.slot} of ${node} is ${read.status}`)
    }
    contents.push({ node, slices })
  }
  const [reference, ...others] = contents
  for (const { node, slices } of others) {
    for (const [slot, content] of slices) {
      const other = reference!.slices.get(slot)
      // Copies are compacted one by one: a slot that only one of them has is dead.
      if (other !== undefined && other !== content)
        found.push(`${where}: slot ${slot} differs on ${reference!.node} and ${node}`)
    }
  }
  return found
}

function imprint(read: Extract<SliceRead, { status: 'ok' }>): string {
  const { slice } = read
  return `${slice.codec}/${slice.kind}/${slice.rawBytes}/${slice.checksumHi}.${slice.checksumLo}/${slice.bytes.length}`
}
