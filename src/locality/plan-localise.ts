/**
 * A partial copy that is worth completing (the policy says so) becomes a full one, and takes the place of a copy that
 * serves nobody: RF stays, and the failure domains are no fewer. Hottest first.
 *
 * Of the copies that may go, the one goes whose leaving spans the most blocks (the owner's neighbour in its chassis, if
 * any), then the one on the fullest node. The owner's SSD stays under 70 % with what the partial copy lacks; what it
 * holds already is counted there.
 */
import type { NodeId } from '../base/units.ts'
import { SSD_FILL } from './marks.ts'
import { PlanLedger } from './plan-ledger.ts'
import type { EgroupView, LocaliseMove, PartialView, PlanOptions, PlanView } from './plan-view.ts'

export function planLocalise(view: PlanView, options: PlanOptions): LocaliseMove[] {
  const ledger = new PlanLedger(view, options)
  const egroups = new Map(view.egroups.map((egroup) => [egroup.egroup, egroup]))
  const hottestFirst = view.partials
    .filter((partial) => partial.complete)
    .sort((a, b) => b.heat - a.heat || a.egroup - b.egroup)
  const moves: LocaliseMove[] = []
  let before: number
  do {
    before = moves.length
    for (const partial of hottestFirst) localise(partial, egroups.get(partial.egroup), ledger, moves)
    // A copy that left may have made the room that an earlier one lacked.
  } while (moves.length > before)
  return moves
}

function localise(
  partial: PartialView,
  egroup: EgroupView | undefined,
  ledger: PlanLedger,
  moves: LocaliseMove[],
): void {
  // Only the owner reads: a partial copy elsewhere is a leftover of an earlier owner, and is left to die.
  if (egroup === undefined || egroup.owner !== partial.node) return
  const to = partial.node
  const bytes = Math.max(0, egroup.bytes - partial.heldBytes)
  if (!ledger.isMovable(egroup) || !ledger.isHealthy(to) || !ledger.canCarry(bytes)) return
  if (!ledger.fits(to, 'ssd', bytes, SSD_FILL)) return
  const from = chooseLeaving(egroup, to, ledger)
  if (from === undefined) return
  moves.push({ type: 'localise', egroup: egroup.egroup, from, to, bytes })
  ledger.carry(egroup.egroup, bytes)
  ledger.add(to, 'ssd', bytes)
  ledger.add(from, egroup.copies.find((copy) => copy.node === from)!.tier, -egroup.bytes)
}

function chooseLeaving(egroup: EgroupView, to: NodeId, ledger: PlanLedger): NodeId | undefined {
  const { copies } = egroup
  let best: NodeId | undefined
  let bestBlocks = 0
  let bestRatio = -1
  for (const { node } of copies) {
    if (!ledger.keepsDomains(copies, node, to)) continue
    const blocks = ledger.blocksSpanned(copies, node, to)
    const ratio = ledger.nodeRatio(node)
    if (blocks < bestBlocks || (blocks === bestBlocks && ratio <= bestRatio)) continue
    best = node
    bestBlocks = blocks
    bestRatio = ratio
  }
  return best
}
