/** From a seed: the shape of a cluster, its VMs, and the faults that it will meet. A pure function of its arguments. */
import type { ClusterSettings } from '../../api.ts'
import { MiB, type NodeId } from '../../base/units.ts'
import type { Random } from '../../platform/types.ts'
import { PATTERNS, type Pattern } from '../workload/patterns.ts'
import { drawFaults } from './draw-faults.ts'
import type { TimedFault } from './fault.ts'
import { pick } from './pick.ts'

const DRAWN_THEMES: readonly Theme[] = [
  'crashes',
  'crashes',
  'network',
  'network',
  'media',
  'everything',
  'everything',
  'operators',
  'calm',
]

export interface PlannedDisk {
  readonly name: string
  readonly vm: string
  readonly node: NodeId
  /** Cells of 512 bytes. */
  readonly cells: number
  readonly pattern: Pattern
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
  /** Snapshots, clones, deletes and resizes happen, too. */
  readonly snapshots: boolean
  /** Everything is deleted at the end, and no byte may stay. */
  readonly deleteAll: boolean
  /** Devices say that they are sparse, as files do. Absent: no. */
  readonly sparse?: boolean
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

export const THEMES = ['crashes', 'network', 'media', 'operators', 'calm', 'everything'] as const

export function drawPlan(seed: number, random: Random, options: PlanOptions = {}): Plan {
  const nodes = options.nodes ?? pick(random, [3, 3, 4, 4, 4, 5, 8])
  const rf = options.rf ?? (nodes >= 4 && random.below(3) === 0 ? 3 : 2)
  const drawn = pick<Theme>(random, DRAWN_THEMES)
  const theme = options.theme ?? drawn
  const durationMs = options.durationMs ?? 5_000 + random.below(15_000)
  const names = Array.from({ length: nodes }, (_, i) => `node-${i + 1}`)
  const vms = [1, 2, 3].map((number) => ({ vm: `vm-${number}`, node: pick(random, names) }))
  const disks = Array.from(
    { length: 2 + random.below(3) },
    (_, i): PlannedDisk => ({
      name: `disk-${i + 1}`,
      ...vms[random.below(vms.length)]!,
      cells: 8 * (32 + random.below(480)),
      pattern: pick(random, PATTERNS),
      clients: 1 + random.below(3),
      readShare: pick(random, [0.2, 0.5, 0.8]),
      thinkMs: options.thinkMs ?? pick(random, [20, 60, 200]),
    }),
  )
  const leaseTtlMs = pick(random, [2_000, 4_000])
  const gapMs = options.faultEveryMs ?? pick(random, [700, 1_500, 4_000])
  return {
    seed,
    settings: {
      nodes,
      rf,
      ssdBytes: pick(random, [96, 128, 256]) * MiB,
      hddBytes: random.below(2) === 0 ? 0 : 256 * MiB,
      nodesPerBlock: nodes === 8 ? 2 : 1,
      leaseTtlMs,
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
    faults:
      gapMs === 0
        ? []
        : drawFaults(random, { theme, nodes: names, disks, rf, leaseTtlMs, durationMs, gapMs }),
    snapshots: random.below(2) === 0,
    deleteAll: random.below(2) === 0,
    // Not drawn, so that all else stays as it was.
    sparse: seed % 4 === 0,
  }
}
