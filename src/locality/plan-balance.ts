/**
 * A node over its mark (85 % of SSD and HDD together) sends its coldest copies to nodes with more space, until it is at
 * 80 %.
 *
 * Copies that nobody reads go first (their owner is another node), then the owner's own, the coldest first. The target
 * is the emptiest healthy node that keeps the failure domains, stays under 80 %, and stays emptier than the source has
 * become: so no move can start another. Cold data goes to the target's HDD, and to its SSD only where there is room
 * below the mark of promotion.
 */
import type { NodeId, Tier } from '../base/units.ts'
import { HDD_FILL, NODE_HIGH, NODE_LOW, SSD_FILL } from './marks.ts'
import { copyHeat, PlanLedger } from './plan-ledger.ts'
import type { EgroupView, EvictMove, PlanOptions, PlanView } from './plan-view.ts'

export function planBalance(view: PlanView, options: PlanOptions): EvictMove[] {
  const ledger = new PlanLedger(view, options)
  const moves: EvictMove[] = []
  let before: number
  do {
    before = moves.length
    const fullestFirst = ledger
      .healthyNodes()
      .filter(({ node }) => ledger.nodeRatio(node) > NODE_HIGH)
      .sort((a, b) => ledger.nodeRatio(b.node) - ledger.nodeRatio(a.node))
    for (const { node } of fullestFirst) empty(view, node, ledger, moves)
    // What left one node may have made the room that an earlier one lacked.
  } while (moves.length > before)
  return moves
}

function empty(view: PlanView, from: NodeId, ledger: PlanLedger, moves: EvictMove[]): void {
  const coldestFirst = view.egroups
    .filter((egroup) => egroup.copies.some((copy) => copy.node === from))
    .sort((a, b) => {
      const owned = Number(a.owner === from) - Number(b.owner === from)
      return owned || copyHeat(a, from) - copyHeat(b, from) || a.egroup - b.egroup
    })
  for (const egroup of coldestFirst) {
    if (ledger.nodeRatio(from) <= NODE_LOW) return
    const { bytes } = egroup
    if (!ledger.isMovable(egroup) || !ledger.canCarry(bytes)) continue
    const target = chooseTarget(egroup, from, ledger)
    if (target === undefined) continue
    const fromTier = egroup.copies.find((copy) => copy.node === from)!.tier
    moves.push({ type: 'evict', egroup: egroup.egroup, from, to: target.node, toTier: target.tier, bytes })
    ledger.carry(egroup.egroup, bytes)
    ledger.add(from, fromTier, -bytes)
    ledger.add(target.node, target.tier, bytes)
    ledger.add(target.node, 'ssd', -ledger.partialBytes(target.node, egroup.egroup))
  }
}

function chooseTarget(
  egroup: EgroupView,
  from: NodeId,
  ledger: PlanLedger,
): { node: NodeId; tier: Tier } | undefined {
  const { bytes, copies } = egroup
  const sourceAfter = ledger.nodeRatio(from, -bytes)
  let best: { node: NodeId; tier: Tier } | undefined
  let bestRatio = Number.POSITIVE_INFINITY
  let bestBlocks = 0
  for (const { node } of ledger.healthyNodes()) {
    const ratio = ledger.nodeRatio(node, bytes)
    if (ratio > Math.min(NODE_LOW, sourceAfter) || !ledger.keepsDomains(copies, from, node)) continue
    const tier = chooseTier(node, bytes, ledger)
    if (tier === undefined) continue
    const blocks = ledger.blocksSpanned(copies, from, node)
    if (blocks < bestBlocks || (blocks === bestBlocks && ratio >= bestRatio)) continue
    best = { node, tier }
    bestRatio = ratio
    bestBlocks = blocks
  }
  return best
}

function chooseTier(node: NodeId, bytes: number, ledger: PlanLedger): Tier | undefined {
  if (ledger.fits(node, 'hdd', bytes, HDD_FILL)) return 'hdd'
  return ledger.fits(node, 'ssd', bytes, SSD_FILL) ? 'ssd' : undefined
}
