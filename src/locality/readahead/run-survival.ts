/**
 * How long sequential runs of one vDisk tend to be: a survival curve, learned as runs grow and end (the product-limit
 * estimate of Kaplan and Meier). The reader of a run of length L asks how far ahead a run that got this far is still
 * likely to get. So a guest that reads files of 1 MiB is read ahead up to 1 MiB and not past it, and one that reads
 * single 64 KiB pieces is not read ahead at all; no size is built in.
 *
 * All lengths are blocks. They are put into bins: exact up to 64 blocks, then 8 to an octave. Per bin: runs that reached it, runs that
 * ended in it. A run that pauses counts as ended, and `revive` takes that back when it goes on. Before much was seen,
 * a prior speaks: runs are heavy-tailed, a run of L reaches 2 L with probability ½^0.7 ≈ 0.6.
 */

const EXACT_BINS = 64
const BINS_PER_OCTAVE = 8
const OCTAVES = 12
const BINS = EXACT_BINS + OCTAVES * BINS_PER_OCTAVE + 1
const EXACT_LOG2 = Math.log2(EXACT_BINS)

/** Weight of the prior, in runs. */
const PRIOR_RUNS = 8
const PRIOR_EXPONENT = 0.7
/** Both columns are halved when this many runs were counted: old habits fade. */
const RUNS_MAX = 4096

/** Shortest length of each bin; one entry more than bins. */
const SHORTEST: Float64Array = Float64Array.from({ length: BINS + 1 }, (_, bin) =>
  bin <= EXACT_BINS ? bin : Math.ceil(2 ** ((bin - EXACT_BINS - 1) / BINS_PER_OCTAVE + EXACT_LOG2)),
)
/** What the prior says of a run in the bin: it ends there. */
const PRIOR_HAZARD: Float64Array = Float64Array.from({ length: BINS }, (_, bin) =>
  bin === 0 ? 0 : 1 - (SHORTEST[bin]! / SHORTEST[bin + 1]!) ** PRIOR_EXPONENT,
)

function binOf(length: number): number {
  if (length <= EXACT_BINS) return length
  const bin = EXACT_BINS + 1 + Math.floor((Math.log2(length) - EXACT_LOG2) * BINS_PER_OCTAVE)
  return bin < BINS ? bin : BINS - 1
}

export class RunSurvival {
  readonly #reached = new Float64Array(BINS)
  readonly #ended = new Float64Array(BINS)

  /** A run grew from `before` blocks (0: it is new) to `after`. */
  grow(before: number, after: number): void {
    const last = binOf(after)
    for (let bin = binOf(before) + 1; bin <= last; bin++) this.#reached[bin]!++
    if (this.#reached[1]! >= RUNS_MAX) this.#fade()
  }

  /** A run stopped at `length`, as far as one can tell. */
  end(length: number): void {
    this.#ended[binOf(length)]!++
  }

  /** A run that had stopped at `length` goes on after all. */
  revive(length: number): void {
    const bin = binOf(length)
    this.#ended[bin] = Math.max(0, this.#ended[bin]! - 1)
  }

  /**
   * Blocks past `length`, at most `most`, that a run of this length is still read with probability ≥ `confidence`.
   */
  expectedAhead(length: number, confidence: number, most: number): number {
    let bin = binOf(length)
    let alive = 1
    while (bin < BINS - 1 && SHORTEST[bin]! - length < most) {
      const ends = this.#ended[bin]! + PRIOR_HAZARD[bin]! * PRIOR_RUNS
      alive *= 1 - Math.min(1, ends / (this.#reached[bin]! + PRIOR_RUNS))
      if (alive < confidence) break
      bin++
    }
    return Math.max(0, Math.min(most, SHORTEST[bin]! - length))
  }

  #fade(): void {
    for (let bin = 0; bin < BINS; bin++) {
      this.#reached[bin]! /= 2
      this.#ended[bin]! /= 2
    }
  }
}
