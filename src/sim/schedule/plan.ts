/** From a seed: the shape of a cluster, its VMs, and the faults that it will meet. A pure function of its arguments. */
import type { ClusterSettings } from '../../api.ts'
import { MiB, type NodeId } from '../../base/units.ts'
import type { Random } from '../../platform/types.ts'
import type { Fault, TimedFault } from './fault.ts'

const DRAWN_THEMES: readonly Theme[] = [
  'crashes',
  'crashes',
  'network',
  'network',
  'media',
  'everything',
  'everything',
  'calm',
]

export interface PlannedDisk {
  readonly name: string
  readonly vm: string
  readonly node: NodeId
  /** Cells of 512 bytes. */
  readonly cells: number
  readonly pattern: 'random' | 'sequential' | 'hot' | 'zipf' | 'unaligned'
  readonly clients: number
  readonly readShare: number
  /** Mean time between the requests of one client, virtual ms. */
  readonly thinkMs: number
}

export interface Plan {
  readonly seed: number
  readonly settings: ClusterSettings & { readonly nodes: number; readonly rf: 1 | 2 | 3 }
  readonly disks: readonly PlannedDisk[]
  readonly durationMs: number
  readonly faults: readonly TimedFault[]
  /** Snapshots, clones and deletes happen, too. */
  readonly snapshots: boolean
  /** Everything is deleted at the end, and no byte may stay. */
  readonly deleteAll: boolean
}

export interface PlanOptions {
  readonly nodes?: number
  readonly rf?: 2 | 3
  readonly durationMs?: number
  /** Mean time between faults, virtual ms; 0: none. */
  readonly faultEveryMs?: number
  readonly theme?: Theme
  /** Mean time between the requests of a client, virtual ms. */
  readonly thinkMs?: number
}

/** Which kinds of fault a run draws from: a run with few kinds goes deeper into each. */
export type Theme = (typeof THEMES)[number]

export const THEMES = ['crashes', 'network', 'media', 'calm', 'everything'] as const

export function drawPlan(seed: number, random: Random, options: PlanOptions = {}): Plan {
  const nodes = options.nodes ?? pick(random, [3, 3, 4, 4, 4, 5, 8])
  const rf = options.rf ?? (nodes >= 4 && random.below(3) === 0 ? 3 : 2)
  const drawn = pick<Theme>(random, DRAWN_THEMES)
  const theme = options.theme ?? drawn
  const durationMs = options.durationMs ?? 5_000 + random.below(15_000)
  const names = Array.from({ length: nodes }, (_, i) => `node-${i + 1}`)
  const patterns = ['random', 'sequential', 'hot', 'zipf', 'unaligned'] as const
  const vms = [1, 2, 3].map((number) => ({ vm: `vm-${number}`, node: pick(random, names) }))
  const disks = Array.from(
    { length: 2 + random.below(3) },
    (_, i): PlannedDisk => ({
      name: `disk-${i + 1}`,
      ...vms[random.below(vms.length)]!,
      cells: 8 * (32 + random.below(480)),
      pattern: pick(random, patterns),
      clients: 1 + random.below(3),
      readShare: pick(random, [0.2, 0.5, 0.8]),
      thinkMs: options.thinkMs ?? pick(random, [20, 60, 200]),
    }),
  )
  const gapMs = options.faultEveryMs ?? pick(random, [700, 1_500, 4_000])
  return {
    seed,
    settings: {
      nodes,
      rf,
      ssdBytes: pick(random, [96, 128, 256]) * MiB,
      hddBytes: random.below(2) === 0 ? 0 : 256 * MiB,
      nodesPerBlock: nodes === 8 ? 2 : 1,
      leaseTtlMs: pick(random, [2_000, 4_000]),
      holdDownMs: pick(random, [1_000, 5_000]),
      rebuildDelayMs: pick(random, [1_000, 10_000]),
      curatorIntervalMs: pick(random, [5_000, 20_000]),
      ioDeadlineMs: 60_000,
      cacheBytes: pick(random, [0, 256 * 1024, 4 * MiB]),
      mapBytes: 1 * MiB,
      localityPolicy: pick(random, ['readahead', 'readahead', 'classic', 'keep', 'never']),
    },
    disks,
    durationMs,
    faults: gapMs === 0 ? [] : drawFaults(random, theme, names, disks, rf, durationMs, gapMs),
    snapshots: random.below(2) === 0,
    deleteAll: random.below(2) === 0,
  }
}

function drawFaults(
  random: Random,
  theme: Theme,
  nodes: readonly NodeId[],
  disks: readonly PlannedDisk[],
  rf: number,
  durationMs: number,
  gapMs: number,
): TimedFault[] {
  // Lasting damage stays on the devices of one node: a second one could make an end of both copies of something.
  const damaged = pick(random, nodes)
  let deviceDied = rf === 2 && theme !== 'media'
  const faults: TimedFault[] = []
  for (let at = random.below(2 * gapMs); at < durationMs; at += 1 + random.below(2 * gapMs)) {
    const fault = drawFault(random, theme, nodes, disks, damaged)
    if (fault === undefined) continue
    if (fault.do === 'dead-device') {
      if (deviceDied) continue
      deviceDied = true
    }
    faults.push({ at, fault })
  }
  return faults
}

function drawFault(
  random: Random,
  theme: Theme,
  nodes: readonly NodeId[],
  disks: readonly PlannedDisk[],
  damaged: NodeId,
): Fault | undefined {
  const node = pick(random, nodes)
  const other = pick(
    random,
    nodes.filter((name) => name !== node),
  )
  const forMs = pick(random, [100, 1_000, 5_000]) + random.below(2_000)
  const move = (): Fault => ({ do: 'migrate', vm: pick(random, disks).vm, to: node })
  const crash = (): Fault => ({ do: pick(random, ['crash', 'hang', 'power-loss'] as const), node, forMs })
  const network = (): Fault =>
    pick<() => Fault>(random, [
      () => ({ do: 'cut', from: node, to: other, oneWay: random.below(2) === 0, forMs }),
      () => ({ do: 'isolate', node, forMs }),
      () => ({ do: 'isolate-from-catalog', node, forMs }),
      () => ({ do: 'catalog-down', forMs: forMs / 2 }),
      () => ({ do: 'lose-switch', forMs }),
      () => ({ do: 'bad-network', loss: 0.02, duplication: 0.05, reorder: 0.1, forMs }),
    ])()
  const media = (): Fault =>
    pick<() => Fault>(random, [
      () => ({ do: 'rot', node: damaged, share: 0.05, forMs }),
      () => ({ do: 'bad-sectors', node: damaged, share: 0.02, forMs }),
      () => ({ do: 'slow-device', node: damaged, ms: pick(random, [20, 200, 3_000]), forMs }),
      () => ({ do: 'dead-device', node: damaged }),
    ])()
  const clocks = (): Fault =>
    random.below(2) === 0
      ? { do: 'drift', node, partsPerMillion: random.below(2_000) - 1_000 }
      : { do: 'step-clock', node, ms: random.below(7_200_000) - 3_600_000 }
  const scan = (): Fault => ({ do: 'curator' })
  switch (theme) {
    case 'calm':
      return pick(random, [move, scan])()
    case 'crashes':
      return pick(random, [
        crash,
        crash,
        crash,
        move,
        scan,
        clocks,
        () => ({ do: 'blackout', forMs }) as const,
      ])()
    case 'network':
      return pick(random, [network, network, move, scan, clocks])()
    case 'media':
      return pick(random, [media, media, move, scan])()
    case 'everything':
      return pick(random, [
        crash,
        network,
        move,
        scan,
        clocks,
        () => ({ do: 'slow-device', node, ms: 200, forMs }) as const,
      ])()
  }
}

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.below(from.length)]!
}
