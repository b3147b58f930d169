/**
 * Draws the faults of a plan: which, where, when and for how long. Two rules go beyond chance:
 *
 * - Lasting damage stays on the devices of one node, and a plan with such damage has no node away at the same time: a
 *   second loss could make an end of both copies of something (fault.ts says what must be survived).
 * - Operators act at the worst time: after a third of the faults somebody migrates a VM, takes a snapshot, starts a scan,
 *   adds or removes a node; in the very moment of the fault, while it lasts, as the lease ends, or as it is over.
 */
import type { NodeId } from '../../base/units.ts'
import type { Random } from '../../platform/types.ts'
import type { Fault, TimedFault } from './fault.ts'
import { pick } from './pick.ts'
import type { PlannedDisk, Theme } from './plan.ts'

/** A fault in so many is followed by an operator. */
const OPERATOR_IN = 3
/** Each is slow (every copy of the node moves), so a plan has few. */
const REMOVALS_MAX = 1
const ADDITIONS_MAX = 2
/** Shares of a run's writes: few enough that most of a node's copies stay good. */
const LOST_SHARE = 0.01

export interface FaultsRequest {
  readonly theme: Theme
  readonly nodes: readonly NodeId[]
  readonly disks: readonly PlannedDisk[]
  readonly rf: number
  readonly leaseTtlMs: number
  readonly durationMs: number
  /** Mean time between faults. */
  readonly gapMs: number
}

type Draw = () => Fault

export function drawFaults(random: Random, request: FaultsRequest): TimedFault[] {
  const { theme, rf, durationMs, gapMs } = request
  const damaged = pick(random, request.nodes)
  const left = {
    'dead-device': rf === 2 && theme !== 'media' ? 0 : 1,
    // Damage may cost a node its device: without that node and the removed one there have to be RF.
    'remove-node': theme === 'media' && request.nodes.length < rf + 2 ? 0 : REMOVALS_MAX,
    'add-node': ADDITIONS_MAX,
  }
  const faults: TimedFault[] = []
  const add = (at: number, fault: Fault): void => {
    if (at >= durationMs) return
    if (fault.do in left && left[fault.do as keyof typeof left]-- <= 0) return
    faults.push({ at, fault })
  }
  for (let at = random.below(2 * gapMs); at < durationMs; at += 1 + random.below(2 * gapMs)) {
    const fault = drawFault(random, request, damaged)
    add(at, fault)
    if (random.below(OPERATOR_IN) === 0) add(at + worstMoment(random, fault, request), ask(random, request))
  }
  return faults.sort((a, b) => a.at - b.at)
}

function worstMoment(random: Random, fault: Fault, { leaseTtlMs }: FaultsRequest): number {
  const forMs = 'forMs' in fault ? fault.forMs : 0
  return pick(random, [
    0,
    random.below(20),
    leaseTtlMs - 50 + random.below(100),
    forMs / 2,
    forMs + random.below(20),
  ])
}

/** What an operator may ask for. */
function ask(random: Random, { nodes, disks }: FaultsRequest): Fault {
  const node = pick(random, nodes)
  return pick<Draw>(random, [
    () => ({ do: 'migrate', vm: pick(random, disks).vm, to: node }),
    () => ({ do: 'migrate', vm: pick(random, disks).vm, to: node }),
    () => ({ do: 'curator' }),
    () => ({ do: 'curator' }),
    () => ({ do: 'snapshot', disk: pick(random, disks).name }),
    () => ({ do: 'snapshot', disk: pick(random, disks).name }),
    () => ({ do: 'add-node' }),
    () => ({ do: 'remove-node', node }),
  ])()
}

function drawFault(random: Random, request: FaultsRequest, damaged: NodeId): Fault {
  const { nodes, disks, theme } = request
  const node = pick(random, nodes)
  const other = pick(
    random,
    nodes.filter((name) => name !== node),
  )
  const forMs = pick(random, [100, 1_000, 5_000]) + random.below(2_000)
  const move: Draw = () => ({ do: 'migrate', vm: pick(random, disks).vm, to: node })
  const scan: Draw = () => ({ do: 'curator' })
  const crash: Draw = () => ({
    do: pick(random, ['crash', 'hang', 'power-loss', 'pause'] as const),
    node,
    forMs,
  })
  const flap: Draw = () => ({ do: 'flap', node, times: 2 + random.below(4), forMs: 50 + random.below(500) })
  const slowCvm: Draw = () => ({ do: 'slow-cvm', node, ms: pick(random, [5, 50, 300]), forMs })
  const rolling: Draw = () => ({ do: 'rolling-restart', forMs: 100 + random.below(1_000) })
  const full: Draw = () => ({ do: 'full-device', node, forMs })
  const network: Draw = () =>
    pick<Draw>(random, [
      () => ({ do: 'cut', from: node, to: other, oneWay: random.below(2) === 0, forMs }),
      () => ({ do: 'isolate', node, forMs }),
      () => ({ do: 'isolate-from-catalog', node, forMs }),
      () => ({ do: 'catalog-down', forMs: forMs / 2 }),
      () => ({ do: 'lose-switch', switch: pick(random, ['tor-a', 'tor-b'] as const), forMs }),
      () => ({ do: 'bad-network', loss: 0.02, duplication: 0.05, reorder: 0.1, forMs }),
    ])()
  const media: Draw = () =>
    pick<Draw>(random, [
      () => ({ do: 'rot', node: damaged, share: 0.05, forMs }),
      () => ({ do: 'bad-sectors', node: damaged, share: 0.02, forMs }),
      () => ({ do: 'misdirect', node: damaged, share: LOST_SHARE, forMs }),
      () => ({ do: 'lose-writes', node: damaged, share: LOST_SHARE, forMs }),
      () => ({ do: 'slow-device', node: damaged, ms: pick(random, [20, 200, 3_000]), forMs }),
      () => ({ do: 'full-device', node: damaged, forMs }),
      () => ({ do: 'dead-device', node: damaged }),
    ])()
  const clocks: Draw = () =>
    random.below(2) === 0
      ? { do: 'drift', node, partsPerMillion: random.below(2_000) - 1_000 }
      : { do: 'step-clock', node, ms: random.below(7_200_000) - 3_600_000 }
  const slowDevice: Draw = () => ({ do: 'slow-device', node, ms: 200, forMs })
  const blackout: Draw = () => ({ do: 'blackout', forMs })
  const draws: Record<Theme, readonly Draw[]> = {
    calm: [move, scan],
    crashes: [crash, crash, crash, flap, rolling, move, scan, clocks, blackout],
    network: [network, network, move, scan, clocks],
    media: [media, media, move, scan],
    operators: [move, scan, rolling, flap, full, () => ask(random, request)],
    everything: [crash, network, move, scan, clocks, slowDevice, slowCvm, full, flap],
  }
  return pick(random, draws[theme])()
}
