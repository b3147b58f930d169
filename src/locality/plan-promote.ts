/**
 * What went down and is hot again comes back: an egroup whose owner reads it from its HDD, hottest first, while the SSD
 * stays under 70 %, which is under the 75 % at which tiering down begins. Copies on other nodes stay where they are:
 * nobody reads them.
 */
import { PROMOTE_HEAT_MIN, SSD_FILL } from './marks.ts'
import { PlanLedger } from './plan-ledger.ts'
import type { PlanOptions, PlanView, TierMove } from './plan-view.ts'

export function planPromote(view: PlanView, options: PlanOptions): TierMove[] {
  const ledger = new PlanLedger(view, options)
  const hottestFirst = view.egroups
    .filter(({ copies, owner, heat }) => {
      return heat >= PROMOTE_HEAT_MIN && copies.some((copy) => copy.node === owner && copy.tier === 'hdd')
    })
    .sort((a, b) => b.heat - a.heat || a.egroup - b.egroup)
  const moves: TierMove[] = []
  for (const egroup of hottestFirst) {
    const { bytes, owner: node } = egroup
    if (!ledger.isMovable(egroup) || !ledger.canCarry(bytes)) continue
    if (!ledger.fits(node, 'ssd', bytes, SSD_FILL)) continue
    moves.push({ type: 'tier', egroup: egroup.egroup, node, from: 'hdd', to: 'ssd', bytes })
    ledger.carry(egroup.egroup, bytes)
    ledger.add(node, 'hdd', -bytes)
    ledger.add(node, 'ssd', bytes)
  }
  return moves
}
