/**
 * The deliberate engine bugs that prove the simulator's checkers: each must be found, or a checker is worthless. Every
 * one is a mistake that somebody could make, compiles, and passes unnoticed as long as nothing fails at the wrong moment.
 * mutations.test.ts holds that each still applies to the engine as it is; runner.ts shows that each is found.
 */
import { FORCED_COLLISIONS, LATE_COMMITS, SLOW_RECLAIM, SLOW_SYNC } from './circumstances.ts'
import { CLUSTER_MUTATIONS } from './list-cluster.ts'
import { LOG_MUTATIONS } from './list-log.ts'
import { VDISK_MUTATIONS } from './list-vdisk.ts'
import type { Mutation } from './mutation.ts'

export const MUTATIONS: readonly Mutation[] = [...LOG_MUTATIONS, ...VDISK_MUTATIONS, ...CLUSTER_MUTATIONS]

/** Changes that break nothing, and must not be found: they show that a finding is the bug's and not the change's. */
export const CONTROLS: readonly Mutation[] = [
  {
    name: 'control-forced-collisions',
    breaks: 'nothing: fingerprints collide, and the bytes are compared',
    ...FORCED_COLLISIONS,
  },
  {
    name: 'control-slow-sync',
    breaks: 'nothing: a sync takes longer',
    ...SLOW_SYNC,
    runs: { scenario: 'crashes' },
  },
  {
    name: 'control-slow-reclaim',
    breaks: 'nothing: a reclaim takes longer',
    ...SLOW_RECLAIM,
  },
  {
    name: 'control-late-commits',
    breaks: 'nothing: a commit that was given up on arrives behind later ones',
    ...LATE_COMMITS,
    runs: { scenario: 'network' },
  },
]
