/**
 * The deliberate engine bugs that prove the simulator's checkers: each must be found, or a checker is worthless. Every
 * one is a mistake that somebody could make, compiles, and passes unnoticed as long as nothing fails at the wrong moment.
 * mutations.test.ts holds that each still applies to the engine as it is; runner.ts shows that each is found.
 */
import {
  EAGER_COMPLETION,
  FORCED_COLLISIONS,
  FREQUENT_CHECKPOINTS,
  LATE_COMMITS,
  LATE_DOUBLES,
  RESTLESS_SIZES,
  RESTLESS_TIERS,
  SLOW_MARK,
  SLOW_MOVES,
  SLOW_REBUILDS,
  SLOW_RECLAIM,
  SLOW_SYNC,
  VERY_LATE_COMMITS,
} from './circumstances.ts'
import { CLUSTER_MUTATIONS } from './list-cluster.ts'
import { LOG_MUTATIONS } from './list-log.ts'
import { VDISK_MUTATIONS } from './list-vdisk.ts'
import type { Edit, Mutation } from './mutation.ts'

export const MUTATIONS: readonly Mutation[] = [...LOG_MUTATIONS, ...VDISK_MUTATIONS, ...CLUSTER_MUTATIONS]

/** Changes that break nothing, and must not be found: they show that a finding is the bug's and not the change's. */
export const CONTROLS: readonly Mutation[] = [
  control('forced-collisions', 'fingerprints collide, and the bytes are compared', [FORCED_COLLISIONS]),
  control('slow-sync', 'a sync takes longer', [SLOW_SYNC], 'crashes'),
  control('slow-reclaim', 'a reclaim takes longer, at either of two steps', [SLOW_RECLAIM, SLOW_MARK]),
  control(
    'late-commits',
    'a commit that was given up on arrives behind later ones, and there are many of them',
    [LATE_COMMITS, FREQUENT_CHECKPOINTS],
    'network',
  ),
  control(
    'very-late-commits',
    'a commit that was given up on arrives minutes later',
    [VERY_LATE_COMMITS],
    'network',
  ),
  control('restless-sizes', 'disks shrink and grow all the time', RESTLESS_SIZES),
  control('late-doubles', 'frames come twice, the second long after the first', [LATE_DOUBLES], 'crashes'),
  control(
    'eager-completion',
    'what was read over the network is completed at once',
    EAGER_COMPLETION,
    'operators',
  ),
  control('restless-tiers', 'cold data moves all the time, slowly', [
    ...RESTLESS_TIERS,
    SLOW_MOVES,
    SLOW_REBUILDS,
  ]),
]

/** What has to come of it. */
export function dueVerdict(name: string): 'found' | 'missed' {
  return CONTROLS.some((each) => each.name === name) ? 'missed' : 'found'
}

function control(what: string, why: string, edits: readonly Edit[], scenario?: string): Mutation {
  const [first, ...also] = edits
  const runs = scenario === undefined ? {} : { runs: { scenario } }
  return { name: `control-${what}`, breaks: `nothing: ${why}`, ...first!, also, ...runs }
}
