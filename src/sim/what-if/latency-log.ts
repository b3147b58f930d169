/**
 * All answers of a run, by class, in order of time: percentiles of any stretch of it are exact. Eight bytes an answer.
 */
import { type AnswerClass, CLASSES, type Latencies, type LatencySummary } from './report.ts'

/** A moment of the run: how many answers of each class there were. */
export type Mark = Readonly<Record<AnswerClass, number>>

export class LatencyLog {
  readonly #columns: Record<AnswerClass, Column> = byClass(() => new Column())

  add(kind: AnswerClass, ms: number): void {
    this.#columns[kind].add(ms)
  }

  mark(): Mark {
    return byClass((kind) => this.#columns[kind].length)
  }

  /** Of the answers between two moments. */
  summary(from: Mark, to: Mark): Latencies {
    return byClass((kind) => summarise(this.#columns[kind].sorted(from[kind], to[kind])))
  }
}

export const NO_ANSWERS: Mark = byClass(() => 0)

export function byClass<T>(make: (kind: AnswerClass) => T): Record<AnswerClass, T> {
  return Object.fromEntries(CLASSES.map((kind) => [kind, make(kind)])) as Record<AnswerClass, T>
}

class Column {
  length = 0
  #values = new Float64Array(1_024)

  add(value: number): void {
    if (this.length === this.#values.length) {
      const larger = new Float64Array(this.length * 2)
      larger.set(this.#values)
      this.#values = larger
    }
    this.#values[this.length++] = value
  }

  sorted(from: number, to: number): Float64Array {
    return this.#values.slice(from, to).sort()
  }
}

function summarise(sorted: Float64Array): LatencySummary | undefined {
  const count = sorted.length
  if (count === 0) return undefined
  let sum = 0
  for (const value of sorted) sum += value
  // Nearest rank: the smallest value that at least this share of the answers does not exceed.
  const rank = (share: number): number => micros(sorted[Math.max(0, Math.ceil(share * count) - 1)]!)
  return {
    count,
    meanMs: micros(sum / count),
    p50Ms: rank(0.5),
    p90Ms: rank(0.9),
    p99Ms: rank(0.99),
    p999Ms: rank(0.999),
    maxMs: rank(1),
  }
}

/** Rounded to microseconds: more would be noise. */
export function micros(ms: number): number {
  return Math.round(ms * 1_000) / 1_000
}
