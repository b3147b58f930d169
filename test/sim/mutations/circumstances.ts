/** Changes that break nothing, and make bugs show that are rare otherwise. */
import type { Edit } from './mutation.ts'

/** 256 fingerprints for all blocks there are: nearly every lookup finds a candidate, and nearly none is the same. */
export const FORCED_COLLISIONS: Edit = {
  file: 'vdisk/reduce.ts',
  find: 'const hi = hashOut[0]!\n        const lo = hashOut[1]!',
  replace: 'const hi = hashOut[0]! & 0xff\n        const lo = 0',
}

/** SSDs whose flush takes as long as a worn consumer drive's: a power loss nearly always finds a write un-synced. */
export const SLOW_SYNC: Edit = {
  file: 'platform/sim/device-models.ts',
  find: 'syncMs: { median: 0.2, p99: 1, max: 20 },',
  replace: 'syncMs: { median: 20, p99: 40, max: 60 },',
}
