/**
 * Shortens a plan that fails to one that still does: halves, then single faults are left out, then disks, then time.
 * A plan is data and a run is a function of it, so every candidate is simply run.
 */
import { type RunResult, runPlan } from './run.ts'
import type { Plan } from './schedule/plan.ts'

export interface Shrunk {
  readonly plan: Plan
  readonly result: RunResult
  readonly runs: number
}

/**
 * @param runsMax how many candidates are tried at most.
 * @param signal ends the search with the shortest plan so far.
 */
export async function shrink(
  plan: Plan,
  result: RunResult,
  runsMax: number,
  signal?: AbortSignal,
): Promise<Shrunk> {
  const kinds = new Set(result.violations.map(kindOf))
  let best = { plan, result }
  let runs = 0
  const attempt = async (candidate: Plan): Promise<boolean> => {
    if (runs >= runsMax || signal?.aborted === true) return false
    runs++
    const tried = await runPlan(candidate, undefined, signal)
    if (tried.interrupted) return false
    if (!tried.violations.some((violation) => kinds.has(kindOf(violation)))) return false
    best = { plan: candidate, result: tried }
    return true
  }
  for (
    let part = Math.ceil(best.plan.faults.length / 2);
    part >= 1;
    part = part === 1 ? 0 : Math.ceil(part / 2)
  ) {
    for (let from = 0; from < best.plan.faults.length && runs < runsMax; ) {
      const faults = best.plan.faults.filter((_, i) => i < from || i >= from + part)
      if (!(await attempt({ ...best.plan, faults }))) from += part
    }
  }
  for (const { name } of plan.disks) {
    const disks = best.plan.disks.filter((disk) => disk.name !== name)
    if (disks.length > 0) await attempt({ ...best.plan, disks })
  }
  if (best.plan.snapshots) await attempt({ ...best.plan, snapshots: false })
  for (;;) {
    const durationMs = Math.floor(best.plan.durationMs / 2)
    if (durationMs < 500 || !(await attempt({ ...best.plan, durationMs }))) break
  }
  return { ...best, runs }
}

/** A shorter plan has to fail in the same way. */
function kindOf(violation: string): string {
  return violation.slice(0, violation.indexOf(':'))
}
