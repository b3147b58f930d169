import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HDD_FILL, HOLD_MS, NODE_LOW, SSD_FILL, SSD_HIGH } from '../../src/locality/marks.ts'
import { planBalance } from '../../src/locality/plan-balance.ts'
import { planLocalise } from '../../src/locality/plan-localise.ts'
import { planPromote } from '../../src/locality/plan-promote.ts'
import { planTiers } from '../../src/locality/plan-tiers.ts'
import type {
  CopyView,
  EgroupView,
  Move,
  NodeView,
  PartialView,
  PlanOptions,
  PlanView,
} from '../../src/locality/plan-view.ts'
import { applyMoves } from './apply-moves.ts'

const PLANNERS = { planTiers, planBalance, planLocalise, planPromote }
const AMPLE: PlanOptions = { budgetBytes: Number.MAX_SAFE_INTEGER }
const NOW = 10 * HOLD_MS

const node = (
  name: string,
  usage: { ssd?: [number, number]; hdd?: [number, number]; block?: string } = {},
) => {
  const [ssdUsed, ssdSize] = usage.ssd ?? [0, 100]
  const [hddUsed, hddSize] = usage.hdd ?? [0, 100]
  return {
    node: name,
    block: usage.block ?? name,
    healthy: true,
    ssd: { usedBytes: ssdUsed, sizeBytes: ssdSize },
    hdd: { usedBytes: hddUsed, sizeBytes: hddSize },
  } satisfies NodeView
}

const egroup = (id: number, copies: readonly string[], more: Partial<EgroupView> = {}): EgroupView => ({
  egroup: id,
  stream: 1,
  owner: 'a',
  copies: copies.map((text): CopyView => {
    const [name = '', tier = 'ssd'] = text.split(':')
    return { node: name, tier: tier === 'hdd' ? 'hdd' : 'ssd' }
  }),
  bytes: 4,
  heat: 0,
  movedAt: Number.NEGATIVE_INFINITY,
  ...more,
})

const partial = (id: number, more: Partial<PartialView> = {}): PartialView => ({
  egroup: id,
  node: 'a',
  heldBytes: 3,
  heat: 1,
  complete: true,
  ...more,
})

const viewOf = (nodes: NodeView[], egroups: EgroupView[], partials: PartialView[] = []): PlanView => ({
  nodes,
  egroups,
  partials,
  now: NOW,
})

const ids = (moves: readonly Move[]) => moves.map((move) => move.egroup)

describe('planTiers', () => {
  it('does nothing at 75 %, and above it goes down to 60 %, coldest first', () => {
    const egroups = Array.from({ length: 10 }, (_, i) => egroup(i + 1, ['a', 'b'], { heat: 10 - i }))
    expect(planTiers(viewOf([node('a', { ssd: [75, 100] }), node('b')], egroups), AMPLE)).toEqual([])
    const moves = planTiers(viewOf([node('a', { ssd: [76, 100] }), node('b')], egroups), AMPLE)
    expect(ids(moves)).toEqual([10, 9, 8, 7])
    expect(moves[0]).toEqual({ type: 'tier', egroup: 10, node: 'a', from: 'ssd', to: 'hdd', bytes: 4 })
  })

  it('takes copies that nobody reads before the owner’s, however hot their egroup', () => {
    const egroups = [egroup(1, ['a', 'b'], { heat: 1 }), egroup(2, ['a', 'b'], { owner: 'b', heat: 99 })]
    const moves = planTiers(viewOf([node('a', { ssd: [78, 100] }), node('b')], egroups), AMPLE)
    expect(ids(moves)).toEqual([2, 1])
  })

  it('gives up partial copies before it moves anything', () => {
    const nodes = [node('a', { ssd: [76, 100] }), node('b'), node('c')]
    const partials = [partial(1, { heldBytes: 9, heat: 2 }), partial(2, { heldBytes: 9, heat: 1 })]
    const moves = planTiers(viewOf(nodes, [egroup(3, ['a', 'b'])], partials), AMPLE)
    expect(moves.map((move) => move.type)).toEqual(['drop-partial', 'drop-partial'])
    expect(ids(moves)).toEqual([2, 1])
  })

  it('leaves a node without an HDD, or with a full one, alone', () => {
    for (const hdd of [
      [0, 0],
      [89, 100],
    ] as Array<[number, number]>) {
      const nodes = [node('a', { ssd: [90, 100], hdd }), node('b')]
      expect(planTiers(viewOf(nodes, [egroup(1, ['a', 'b'])]), AMPLE)).toEqual([])
    }
  })
})

describe('planPromote', () => {
  const cold = node('b')

  it('brings hot egroups back, hottest first, while the SSD stays under 70 %', () => {
    const egroups = [5, 50, 10].map((heat, i) => egroup(i + 1, ['a:hdd', 'b'], { heat }))
    const view = viewOf([node('a', { ssd: [62, 100] }), cold], egroups)
    expect(ids(planPromote(view, AMPLE))).toEqual([2, 3])
  })

  it('leaves cold ones, and copies that nobody reads', () => {
    const egroups = [
      egroup(1, ['a:hdd', 'b'], { heat: 2.9 }),
      egroup(2, ['a:hdd', 'b'], { owner: 'b', heat: 9 }),
    ]
    expect(planPromote(viewOf([node('a'), cold], egroups), AMPLE)).toEqual([])
  })
})

describe('planLocalise', () => {
  const three = [node('a'), node('b'), node('c', { hdd: [50, 100] })]

  it('exchanges the copy on the fullest node that serves nobody for one at the owner', () => {
    const moves = planLocalise(viewOf(three, [egroup(1, ['b', 'c'])], [partial(1)]), AMPLE)
    expect(moves).toEqual([{ type: 'localise', egroup: 1, from: 'c', to: 'a', bytes: 1 }])
  })

  it('lets the copy in the owner’s own chassis go, fuller nodes or not', () => {
    const nodes = [
      node('a', { block: 'x' }),
      node('b', { block: 'x' }),
      node('c', { hdd: [50, 100], block: 'y' }),
    ]
    const moves = planLocalise(viewOf(nodes, [egroup(1, ['b', 'c'])], [partial(1)]), AMPLE)
    expect(moves[0]).toMatchObject({ from: 'b', to: 'a' })
  })

  it('does nothing for a copy the owner has, for a leftover of another owner, or against the policy', () => {
    const nothing: Array<[EgroupView, PartialView]> = [
      [egroup(1, ['a:hdd', 'b']), partial(1)],
      [egroup(1, ['b', 'c'], { owner: 'b' }), partial(1)],
      [egroup(1, ['b', 'c']), partial(1, { complete: false })],
      [egroup(1, ['b', 'c']), partial(2)],
    ]
    for (const [group, part] of nothing) {
      expect(planLocalise(viewOf(three, [group], [part]), AMPLE)).toEqual([])
    }
  })

  it('moves the only copy under RF1', () => {
    const moves = planLocalise(viewOf(three, [egroup(1, ['b'])], [partial(1)]), AMPLE)
    expect(moves).toEqual([{ type: 'localise', egroup: 1, from: 'b', to: 'a', bytes: 1 }])
  })
})

describe('planBalance', () => {
  it('sends the coldest copies to the emptiest node until 80 %, to its HDD', () => {
    const egroups = Array.from({ length: 8 }, (_, i) => egroup(i + 1, ['a', 'b'], { heat: i }))
    const nodes = [
      node('a', { ssd: [86, 100], hdd: [86, 100] }),
      node('b'),
      node('c'),
      node('d', { hdd: [9, 100] }),
    ]
    const moves = planBalance(viewOf(nodes, egroups), AMPLE)
    expect(ids(moves)).toEqual([1, 2, 3])
    expect(moves.map((move) => move.to)).toEqual(['c', 'c', 'c'])
    expect(moves[0]).toMatchObject({ type: 'evict', from: 'a', toTier: 'hdd' })
  })

  it('has no target that holds a copy, or shares a chassis with one', () => {
    const nodes = [
      node('a', { ssd: [90, 100], hdd: [90, 100], block: 'x' }),
      node('b', { block: 'y' }),
      node('c', { block: 'y' }),
    ]
    expect(planBalance(viewOf(nodes, [egroup(1, ['a', 'b'])]), AMPLE)).toEqual([])
  })

  it('does nothing when all nodes are full', () => {
    const full = { ssd: [90, 100] as [number, number], hdd: [90, 100] as [number, number] }
    const nodes = [node('a', full), node('b', full), node('c', full)]
    expect(planBalance(viewOf(nodes, [egroup(1, ['a', 'b'])]), AMPLE)).toEqual([])
  })
})

describe('every planner', () => {
  it('leaves an egroup within its hold time, or with a copy on a failed node', () => {
    const tight = { ssd: [90, 100] as [number, number], hdd: [86, 100] as [number, number] }
    const held = egroup(1, ['a', 'b'], { movedAt: NOW - HOLD_MS + 1 })
    const degraded = egroup(2, ['a', 'd'])
    const nodes = [node('a', tight), node('b'), node('c'), { ...node('d'), healthy: false }]
    for (const plan of [planTiers, planBalance]) {
      expect(plan(viewOf(nodes, [held, degraded]), AMPLE)).toEqual([])
      const free = viewOf(nodes, [{ ...held, movedAt: NOW - HOLD_MS }])
      expect(plan(free, AMPLE)).toHaveLength(1)
    }
  })

  it('stays within its budget, and takes what still fits', () => {
    const egroups = [egroup(1, ['a', 'b'], { bytes: 8 }), egroup(2, ['a', 'b'], { bytes: 2, heat: 1 })]
    const view = viewOf([node('a', { ssd: [80, 100] }), node('b')], egroups)
    expect(ids(planTiers(view, { budgetBytes: 4 }))).toEqual([2])
  })
})

/** Bytes on a tier of 100 that are of egroups not in the view. */
const anyFill = fc.constantFrom(0, 30, 55, 80, 95)

/** Small clusters in any state: 3 to 5 nodes in 1 to 5 blocks, any fill, egroups with any copies. */
const anyView: fc.Arbitrary<PlanView> = fc
  .record({
    nodes: fc.array(
      fc.record({
        block: fc.constantFrom('v', 'w', 'x', 'y', 'z'),

        fill: fc.tuple(anyFill, anyFill),
        hdd: fc.nat(4).map((die) => die > 0),
      }),
      { minLength: 3, maxLength: 5 },
    ),
    down: fc.oneof({ weight: 5, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.nat(4) }),
    egroups: fc.array(
      fc.record({
        owner: fc.nat(4),
        first: fc.nat(4),
        copies: fc.integer({ min: 1, max: 3 }),
        hdd: fc.nat(7),
        bytes: fc.integer({ min: 1, max: 8 }),
        heat: fc.integer({ min: 0, max: 8 }),
        held: fc.option(fc.integer({ min: 1, max: 8 })),
        complete: fc.boolean(),
        age: fc.constantFrom(HOLD_MS - 1, HOLD_MS, 2 * HOLD_MS, Number.POSITIVE_INFINITY),
      }),
      { minLength: 4, maxLength: 30 },
    ),
  })
  .map(({ nodes, down, egroups }) => {
    const name = (i: number) => `node-${(i % nodes.length) + 1}`
    const used = new Map<string, { ssd: number; hdd: number }>()
    for (let i = 0; i < nodes.length; i++) used.set(name(i), { ssd: 0, hdd: 0 })
    const partials: PartialView[] = []
    const views = egroups.map((e, i): EgroupView => {
      const owner = name(e.owner)
      const copies = Array.from({ length: Math.min(e.copies, nodes.length) }, (_, c): CopyView => {
        const at = (e.first + c) % nodes.length
        const tier = nodes[at]!.hdd && (e.hdd >> c) & 1 ? 'hdd' : 'ssd'
        used.get(name(at))![tier] += e.bytes
        return { node: name(at), tier }
      })
      if (e.held !== null && !copies.some((copy) => copy.node === owner)) {
        const heldBytes = Math.min(e.held, e.bytes)
        used.get(owner)!.ssd += heldBytes
        partials.push({ egroup: i + 1, node: owner, heldBytes, heat: e.heat, complete: e.complete })
      }
      const { bytes, heat } = e
      return { egroup: i + 1, stream: 1, owner, copies, bytes, heat, movedAt: NOW - e.age }
    })
    return {
      nodes: nodes.map((n, i) => ({
        node: name(i),
        block: n.block,
        healthy: down === null || name(down) !== name(i),
        ssd: { usedBytes: filled(used.get(name(i))!.ssd, n.fill[0]), sizeBytes: 100 },
        hdd: n.hdd
          ? { usedBytes: filled(used.get(name(i))!.hdd, n.fill[1]), sizeBytes: 100 }
          : { usedBytes: 0, sizeBytes: 0 },
      })),
      egroups: views,
      partials,
      now: NOW,
    }
  })

/** `more` bytes on top of what is used, as far as the tier of 100 has room. */
const filled = (used: number, more: number) => Math.max(used, Math.min(100, used + more))

const blocksOf = (view: PlanView, group: EgroupView) =>
  new Set(group.copies.map((copy) => view.nodes.find((n) => n.node === copy.node)!.block)).size

describe.each(Object.entries(PLANNERS))('%s, in any cluster', (_name, plan) => {
  // Guards the properties below against a generator that gives the planner nothing to do.
  it('has something to do in many of them', () => {
    const busy = fc.sample(anyView, { numRuns: 300, seed: 1 }).filter((view) => plan(view, AMPLE).length > 0)
    expect(busy.length).toBeGreaterThan(60)
  })

  it('keeps RF, distinct nodes and blocks, hold times and the budget', () => {
    fc.assert(
      fc.property(anyView, fc.integer({ min: 0, max: 60 }), (view, budgetBytes) => {
        const moves = plan(view, { budgetBytes })
        const after = applyMoves(view, moves)
        const carried = moves.reduce((sum, m) => sum + (m.type === 'drop-partial' ? 0 : m.bytes), 0)
        expect(carried).toBeLessThanOrEqual(budgetBytes)
        const carriedIds = moves.filter((m) => m.type !== 'drop-partial').map((m) => m.egroup)
        expect(new Set(carriedIds).size).toBe(carriedIds.length)
        view.egroups.forEach((before, i) => {
          const now = after.egroups[i]!
          expect(now.copies).toHaveLength(before.copies.length)
          expect(new Set(now.copies.map((copy) => copy.node)).size).toBe(now.copies.length)
          expect(blocksOf(after, now)).toBeGreaterThanOrEqual(blocksOf(view, before))
          const movedLately = view.now - before.movedAt < HOLD_MS
          const degraded = before.copies.some((c) => !view.nodes.find((n) => n.node === c.node)!.healthy)
          if (movedLately || degraded) expect(now).toEqual(before)
        })
      }),
    )
  })

  it('fills no tier past the mark at which another planner empties it', () => {
    fc.assert(
      fc.property(anyView, (view) => {
        const after = applyMoves(view, plan(view, AMPLE))
        after.nodes.forEach((now, i) => {
          const before = view.nodes[i]!
          if (now.ssd.usedBytes > before.ssd.usedBytes) {
            expect(now.ssd.usedBytes).toBeLessThanOrEqual(SSD_FILL * now.ssd.sizeBytes)
          }
          if (now.hdd.usedBytes > before.hdd.usedBytes) {
            expect(now.hdd.usedBytes).toBeLessThanOrEqual(HDD_FILL * now.hdd.sizeBytes)
          }
        })
      }),
    )
  })

  it('has nothing left to do when its plan is done, even without a hold time', () => {
    fc.assert(
      fc.property(anyView, (view) => {
        const moves = plan(view, AMPLE)
        const after = applyMoves(view, moves)
        expect(plan(after, AMPLE)).toEqual([])
        const later = plan({ ...after, now: after.now + 2 * HOLD_MS }, AMPLE)
        expect(later.filter((move) => moves.some((first) => isBack(first, move)))).toEqual([])
      }),
    )
  })
})

/**
 * `move` undoes `first`. That another copy of the egroup goes to the node that this one left is no ping-pong: the node has
 * become emptier than where that copy was.
 */
function isBack(first: Move, move: Move): boolean {
  if (first.egroup !== move.egroup || first.type === 'drop-partial' || move.type === 'drop-partial')
    return false
  if (first.type === 'tier') return move.type === 'tier' && first.node === move.node && first.from === move.to
  return move.type !== 'tier' && first.from === move.to && first.to === move.from
}

describe('all planners together', () => {
  // Settled means still: rounds of all planners, each later than the hold time, come to rest under a steady heat.
  it('come to rest', () => {
    fc.assert(
      fc.property(anyView, (start) => {
        let view = start
        for (let round = 0; round < 40; round++) {
          let moved = 0
          for (const plan of Object.values(PLANNERS)) {
            const moves = plan(view, { budgetBytes: 40 })
            moved += moves.length
            view = applyMoves(view, moves)
          }
          if (moved === 0 && round > 0) return
          view = { ...view, now: view.now + 2 * HOLD_MS }
        }
        expect.fail('still moving after 40 rounds')
      }),
      { numRuns: 300 },
    )
  })

  it('empty a tight SSD and a full node when there is room', () => {
    const nodes = [node('a', { ssd: [98, 100], hdd: [80, 100] }), node('b'), node('c')]
    const egroups = Array.from({ length: 30 }, (_, i) => egroup(i + 1, [i < 15 ? 'a' : 'a:hdd', 'b']))
    let view = viewOf(nodes, egroups)
    view = applyMoves(view, planBalance(view, AMPLE))
    view = applyMoves(view, planTiers(view, AMPLE))
    const { ssd, hdd } = view.nodes[0]!
    expect((ssd.usedBytes + hdd.usedBytes) / 200).toBeLessThanOrEqual(NODE_LOW)
    expect(ssd.usedBytes / 100).toBeLessThanOrEqual(SSD_HIGH)
  })
})
