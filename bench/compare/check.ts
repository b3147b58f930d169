/**
 * A named check: one ratio, the goal it should reach, and which way is better. The bound in bench/bounds.json is what it
 * must not fall behind: `--check` compares with that. A goal says where we want to be, a bound where we are.
 */
import type { BenchContext } from '../shared/options.ts'

export interface Goal {
  /** Begins with the number of the goal in docs/performance.md; unique. */
  readonly id: string
  readonly what: string
  readonly against: string
  readonly better: 'more' | 'less'
  /** It is not a matter of time, and comes out the same in every run. */
  readonly exact?: boolean
  /** Left out for a ratio that is only told. */
  readonly goal?: number
}

export interface CheckResult extends Goal {
  readonly ratio: number
  readonly note?: string
}

/** Checks that are measured together. */
export interface CheckGroup {
  readonly name: string
  /** Why it cannot run here. */
  skipped?(context: BenchContext): Promise<string | undefined> | string | undefined
  run(context: BenchContext): Promise<CheckResult[]>
}

export type Bounds = Readonly<Record<string, number>>

export function reaches(value: number, limit: number, better: 'more' | 'less'): boolean {
  return better === 'more' ? value >= limit : value <= limit
}

/** Checks whose ratio is worse than its bound, or could not be told. One without a bound holds. */
export function regressions(results: readonly CheckResult[], bounds: Bounds): CheckResult[] {
  return results.filter(({ id, ratio, better }) => {
    const bound = bounds[id]
    return bound !== undefined && !reaches(ratio, bound, better)
  })
}

/**
 * Those of `worse` that were worse once more, with what was measured then: a slow minute of the machine is no regression. One that
 * was not measured again stays.
 */
export function confirmed(
  worse: readonly CheckResult[],
  again: readonly CheckResult[],
  bounds: Bounds,
): CheckResult[] {
  const second = worse.map((result) => again.find(({ id }) => id === result.id) ?? result)
  return regressions(second, bounds)
}

/** Room that a bound leaves, for the noise of a shared machine: a third; half for the tail of latencies. */
export function boundFor({ id, ratio, better, exact }: CheckResult): number {
  const room = exact === true ? 1.02 : id.includes('p99') ? 2 : 1.5
  return Number((better === 'more' ? ratio / room : ratio * room).toPrecision(3))
}
