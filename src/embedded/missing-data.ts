/**
 * Acknowledged data that cannot be found, disk by disk, in words: an operator has to see it before a client runs into it.
 *
 * What is known without reading anything: sealed egroups of which no node that is up has a copy (the last copy stays
 * listed when its device is lost: the device may come back), and disks whose owner could not take them over, because the
 * end of their log is missing.
 */
import { formatBytes } from '../base/format-bytes.ts'
import type { EgroupId, VDiskId } from '../base/units.ts'
import { type EgroupRecord, keys } from '../cluster/records.ts'
import type { Cvm } from '../cvm/cvm.ts'
import type { View } from './stats.ts'

interface Missing {
  /** Bytes of which every copy is on a node that is down, or was. */
  awayBytes: number
  lostBytes: number
}

/** @param cvm any that is up: it has the directory. */
export function missingData(view: View, cvm: Cvm | undefined): ReadonlyMap<VDiskId, string> {
  const words = new Map<VDiskId, string>()
  if (cvm === undefined) return words
  for (const [vdisk, { awayBytes, lostBytes }] of missingBytes(view, cvm)) {
    const parts: string[] = []
    if (lostBytes > 0) parts.push(`${formatBytes(lostBytes)} of its log have no copy left`)
    if (awayBytes > 0) parts.push(`${formatBytes(awayBytes)} of its log are on nodes that are down`)
    words.set(vdisk, parts.join(', '))
  }
  for (const [, { value }] of view.vdisks.all()) {
    const owner = view.owners.value(keys.owner(value.id))?.node
    const failure = owner && view.members.get(owner)?.cvm?.ownership.failureOf(value.id)
    if (failure) words.set(value.id, failure.message)
  }
  return words
}

function missingBytes(view: View, cvm: Cvm): Map<VDiskId, Missing> {
  const found = new Map<VDiskId, Missing>()
  for (const [egroup, { value }] of cvm.directory.all()) {
    if (value.state !== 'sealed' || value.length === 0) continue
    const where = whereabouts(egroup, value, view)
    if (where === 'here') continue
    const missing = found.get(value.stream) ?? { awayBytes: 0, lostBytes: 0 }
    if (where === 'away') missing.awayBytes += value.length
    else missing.lostBytes += value.length
    found.set(value.stream, missing)
  }
  return found
}

function whereabouts(egroup: EgroupId, { copies }: EgroupRecord, view: View): 'here' | 'away' | 'lost' {
  let isAway = false
  for (const { node } of copies) {
    const cvm = view.members.get(node)?.cvm
    // Others say where it is as soon as their device is lost: only the last one needs a look.
    if (cvm !== undefined && (copies.length > 1 || cvm.store.info(egroup) !== undefined)) return 'here'
    if (cvm === undefined) isAway = true
  }
  return isAway ? 'away' : 'lost'
}
