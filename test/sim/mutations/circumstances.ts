/** Changes that break nothing, and make bugs show that are rare otherwise. */
import type { Edit } from './mutation.ts'

/** 256 fingerprints for all blocks there are: nearly every lookup finds a candidate, and nearly none is the same. */
export const FORCED_COLLISIONS: Edit = {
  file: 'vdisk/reduce.ts',
  find: 'const hi = words[word + INSPECT_HIGH]!\n        const lo = words[word + INSPECT_LOW]!',
  replace: 'const hi = words[word + INSPECT_HIGH]! & 0xff\n        const lo = 0',
}

/** SSDs whose flush takes as long as a worn consumer drive's: a power loss nearly always finds a write un-synced. */
export const SLOW_SYNC: Edit = {
  file: 'platform/sim/device-models.ts',
  find: 'syncMs: { median: 0.2, p99: 1, max: 20 },',
  replace: 'syncMs: { median: 20, p99: 40, max: 60 },',
}

/** The curator takes its time between marking and sweeping: writes that meet a slot in between are many, not one in a run. */
export const SLOW_RECLAIM: Edit = {
  file: 'curator/reclaim.ts',
  find: '    if (suspects.size > 0) await this.forget(run, cvms, watermark, suspects)\n',
  replace:
    '    await platform.clock.sleep(1_500)\n    if (suspects.size > 0) await this.forget(run, cvms, watermark, suspects)\n',
}

/** A commit that its client has given up on arrives behind later ones, as on a connection that comes to life again. */
export const LATE_COMMITS: Edit = {
  file: 'platform/sim/sim-catalog-client.ts',
  find: '    const answer = outcomeOf(() => call.serve(server, call))\n',
  replace:
    '    if (call.settled && !call.repeats) {\n' +
    '      this.#world.loop.after(4_000 * drawUnit(random), () => outcomeOf(() => call.serve(server, call)))\n' +
    '      return\n    }\n    const answer = outcomeOf(() => call.serve(server, call))\n',
}
