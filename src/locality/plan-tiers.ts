/**
 * Tight SSD: where a node's SSD is over 75 %, room is made until it is at 60 % (15 % of it are freed).
 *
 * 1. Partial copies go first, the coldest first: they are a cache, and giving one up carries nothing.
 * 2. Then the coldest copies go down to the node's own HDD. Copies that nobody reads (their owner is another node)
 *    are the coldest of all.
 *
 * A node without an HDD, or with a full one, is left to plan-balance.
 */
import { HDD_FILL, SSD_HIGH, SSD_LOW } from './marks.ts'
import { copyHeat, PlanLedger } from './plan-ledger.ts'
import type { Move, NodeView, PlanOptions, PlanView } from './plan-view.ts'

export function planTiers(view: PlanView, options: PlanOptions): Move[] {
  const ledger = new PlanLedger(view, options)
  const moves: Move[] = []
  for (const node of ledger.healthyNodes()) {
    if (ledger.tierRatio(node.node, 'ssd') <= SSD_HIGH) continue
    dropPartials(view, node, ledger, moves)
    moveDown(view, node, ledger, moves)
  }
  return moves
}

function dropPartials(view: PlanView, { node }: NodeView, ledger: PlanLedger, moves: Move[]): void {
  const partials = view.partials
    .filter((partial) => partial.node === node)
    .sort((a, b) => a.heat - b.heat || a.egroup - b.egroup)
  for (const { egroup, heldBytes } of partials) {
    if (ledger.tierRatio(node, 'ssd') <= SSD_LOW) return
    moves.push({ type: 'drop-partial', egroup, node, bytes: heldBytes })
    ledger.add(node, 'ssd', -heldBytes)
  }
}

function moveDown(view: PlanView, { node }: NodeView, ledger: PlanLedger, moves: Move[]): void {
  const coldestFirst = view.egroups
    .filter((egroup) => egroup.copies.some((copy) => copy.node === node && copy.tier === 'ssd'))
    .sort((a, b) => copyHeat(a, node) - copyHeat(b, node) || a.egroup - b.egroup)
  for (const egroup of coldestFirst) {
    if (ledger.tierRatio(node, 'ssd') <= SSD_LOW) return
    const { bytes } = egroup
    if (!ledger.isMovable(egroup) || !ledger.canCarry(bytes)) continue
    if (!ledger.fits(node, 'hdd', bytes, HDD_FILL)) continue
    moves.push({ type: 'tier', egroup: egroup.egroup, node, from: 'ssd', to: 'hdd', bytes })
    ledger.carry(egroup.egroup, bytes)
    ledger.add(node, 'ssd', -bytes)
    ledger.add(node, 'hdd', bytes)
  }
}
