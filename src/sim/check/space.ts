/**
 * Space adds up: the units in use of every device are those of the copies on it, no more (a leak) and no fewer (units
 * that two copies may be given). When everything is deleted, no copy and no unit may be left, partial copies included.
 */
import type { Cvm } from '../../cvm/cvm.ts'
import type { SimCluster } from '../cluster.ts'

/** Every device whose units are not those of its copies; empty when all is well. A CVM that is down is not looked at. */
export function unitFaults(sim: SimCluster): string[] {
  return sim.cluster.nodes.flatMap((node) => {
    const cvm = sim.cvm(node)
    return cvm === undefined ? [] : faultsOf(cvm)
  })
}

/** What is left of a cluster whose vDisks and snapshots were all deleted; empty when nothing is. */
export function leftovers(sim: SimCluster): string[] {
  const found = unitFaults(sim)
  const { egroups } = sim.cluster.stats()
  if (egroups > 0) found.push(`all is deleted, and the directory lists ${egroups} egroups`)
  for (const node of sim.cluster.nodes) {
    const copies = sim.cvm(node)?.store.copies() ?? []
    const bytes = copies.reduce((sum, copy) => sum + copy.allocatedBytes, 0)
    if (copies.length > 0)
      found.push(`all is deleted, and ${node} holds ${copies.length} copies in ${bytes} bytes`)
  }
  return found
}

function faultsOf(cvm: Cvm): string[] {
  const held = new Map<string, number>()
  for (const { device, allocatedBytes } of cvm.store.copies()) {
    held.set(device, (held.get(device) ?? 0) + allocatedBytes)
  }
  const found: string[] = []
  for (const { id, failed, usedBytes } of cvm.store.usage()) {
    const copies = held.get(id) ?? 0
    if (!failed && usedBytes !== copies) {
      found.push(`${id} has ${usedBytes} bytes in use, and its copies take ${copies}`)
    }
  }
  return found
}
