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

/** Marking takes its time: vDisks are written to, and egroups sealed, before the marks are looked at. */
export const SLOW_MARK: Edit = {
  file: 'curator/reclaim.ts',
  find: '      if (work.length === 0) return marks\n',
  replace:
    '      if (work.length === 0) await this.context.platform.clock.sleep(1_500)\n      if (work.length === 0) return marks\n',
}

/**
 * One commit of a CVM in ten stands on its way until its client has given up on it, and arrives behind later ones: as on a
 * connection that comes to life again.
 */
export const LATE_COMMITS: Edit = lateCommits(0.1, 8_000)

/** As `LATE_COMMITS`, half as many, and so late that what they were about may have come and gone. */
export const VERY_LATE_COMMITS: Edit = lateCommits(0.05, 90_000)

/** A checkpoint for every 128 KiB of log: many commits of roots, and many pages in the log. */
export const FREQUENT_CHECKPOINTS: Edit = {
  file: 'vdisk/owned-vdisk.ts',
  find: 'const CHECKPOINT_LOG_BYTES = 128 * MiB',
  replace: 'const CHECKPOINT_LOG_BYTES = MiB / 8',
}

/** Nobody looks whether what a record lists is there: else that heals as soon as it is seen. */
export const LOST_COPIES_UNSEEN: Edit = {
  file: 'curator/curator.ts',
  find: 'this.unsubscribe.push(this.unlisted.watch(), new LostCopies(this.context).watch())',
  replace: 'this.unsubscribe.push(this.unlisted.watch())',
}

/** A frame in ten comes a second time, up to 400 ms after the first. */
export const LATE_DOUBLES: Edit = {
  file: 'platform/sim/sim-network.ts',
  find: "if (this.#happens('duplication')) {\n      const copy = frame.slice()\n      this.#arrive(flow, at + this.#within(faults.reorderMs), () => {",
  replace:
    'if (this.#fraction() < 0.1) {\n      const copy = frame.slice()\n      this.#arrive(flow, at + 400 * this.#fraction(), () => {',
}

/** Every vDisk keeps what it has read over the network, and completes it at once. */
export const EAGER_COMPLETION: readonly Edit[] = [
  {
    file: 'sim/schedule/plan.ts',
    find: "pick(random, ['readahead', 'readahead', 'classic', 'keep', 'never'])",
    replace: "pick(random, ['keep', 'readahead'])",
  },
  {
    file: 'cvm/completion.ts',
    find: 'if (complete && !(await',
    replace: 'if ((complete || heldBytes > 0) && !(await',
  },
]

/** Every node has an HDD, everything that is sealed is tiered down, and nodes count as full when they are nearly empty. */
export const RESTLESS_TIERS: readonly Edit[] = [
  {
    file: 'sim/schedule/plan.ts',
    find: 'hddBytes: random.below(2) === 0 ? 0 :',
    replace: 'hddBytes: random.below(2) < 0 ? 0 :',
  },
  {
    file: 'locality/plan-tiers.ts',
    find: "if (ledger.tierRatio(node.node, 'ssd') <= SSD_HIGH) continue",
    replace: 'if (SSD_HIGH < 0) continue',
  },
  { file: 'locality/marks.ts', find: 'SSD_LOW = 0.6', replace: 'SSD_LOW = 0' },
  { file: 'locality/marks.ts', find: 'NODE_LOW = 0.8', replace: 'NODE_LOW = 0.05' },
  { file: 'locality/marks.ts', find: 'NODE_HIGH = 0.85', replace: 'NODE_HIGH = 0.051' },
]

/** Background work is allowed a 128th of its rate. */
export const SLOW_MOVES: Edit = {
  file: 'locality/mover.ts',
  find: 'MOVER_BYTES_PER_SECOND = 128 * MiB',
  replace: 'MOVER_BYTES_PER_SECOND = MiB',
}
export const SLOW_REBUILDS: Edit = {
  file: 'curator/curator.ts',
  find: 'BACKGROUND_BYTES_PER_SECOND = 128 * MiB',
  replace: 'BACKGROUND_BYTES_PER_SECOND = MiB',
}

/** Disks shrink and grow all the time. */
export const RESTLESS_SIZES: readonly Edit[] = [
  {
    file: 'sim/workload/library.ts',
    find: 'await this.step(pick(random, STEPS))',
    replace: "await this.step(random.below(4) > 0 ? 'resize' : pick(random, STEPS))",
  },
  {
    file: 'sim/workload/library.ts',
    find: 'await loop.sleep(random.below(2 * EVERY_MS))',
    replace: 'await loop.sleep(random.below(EVERY_MS / 2))',
  },
]

function lateCommits(share: number, mostMs: number): Edit {
  return {
    file: 'platform/sim/sim-catalog-client.ts',
    find: '    const answer = outcomeOf(() => call.serve(server, call))\n',
    replace:
      `    if (!call.repeats && this.name !== 'hosts' && drawUnit(random) < ${share}) {\n` +
      `      const lateMs = timing.timeoutMs + ${mostMs} * drawUnit(random)\n` +
      '      this.#world.loop.after(lateMs, () => outcomeOf(() => call.serve(server, call)))\n' +
      '      return\n    }\n    const answer = outcomeOf(() => call.serve(server, call))\n',
  }
}
