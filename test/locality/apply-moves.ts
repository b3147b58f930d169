/** What the world looks like when a plan is done: the mover, as a pure function. */
import { invariant } from '../../src/base/errors.ts'
import type { EgroupView, Move, PartialView, PlanView } from '../../src/locality/plan-view.ts'

export function applyMoves(view: PlanView, moves: readonly Move[]): PlanView {
  const nodes = new Map(
    view.nodes.map((node) => [node.node, { ...node, ssd: { ...node.ssd }, hdd: { ...node.hdd } }]),
  )
  const egroups = new Map(view.egroups.map((group) => [group.egroup, group]))
  let partials: readonly PartialView[] = view.partials
  const add = (node: string, tier: 'ssd' | 'hdd', bytes: number) => {
    const usage = nodes.get(node)![tier]
    usage.usedBytes += bytes
    invariant(usage.usedBytes >= 0, 'more was freed than there was')
    invariant(bytes <= 0 || usage.usedBytes <= usage.sizeBytes, 'a move filled a device')
  }
  const withCopies = (group: EgroupView, copies: EgroupView['copies']) =>
    egroups.set(group.egroup, { ...group, copies, movedAt: view.now })

  for (const move of moves) {
    const group = egroups.get(move.egroup)!
    if (move.type === 'drop-partial') {
      add(move.node, 'ssd', -move.bytes)
      partials = partials.filter((p) => p.egroup !== move.egroup || p.node !== move.node)
    } else if (move.type === 'tier') {
      add(move.node, move.from, -move.bytes)
      add(move.node, move.to, move.bytes)
      withCopies(
        group,
        group.copies.map((copy) => (copy.node === move.node ? { ...copy, tier: move.to } : copy)),
      )
    } else {
      const leaving = group.copies.find((copy) => copy.node === move.from)!
      add(move.from, leaving.tier, -group.bytes)
      const tier = move.type === 'evict' ? move.toTier : 'ssd'
      add(move.to, tier, move.bytes)
      partials = partials.filter((p) => {
        const replaced = p.egroup === move.egroup && p.node === move.to
        // A full copy that comes over a partial one takes its place.
        if (replaced && move.type === 'evict') add(move.to, 'ssd', -p.heldBytes)
        return !replaced
      })
      withCopies(group, [...group.copies.filter((copy) => copy !== leaving), { node: move.to, tier }])
    }
  }
  return { ...view, nodes: [...nodes.values()], egroups: [...egroups.values()], partials }
}
