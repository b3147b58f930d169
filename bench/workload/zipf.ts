/**
 * Places that are visited as Zipf's law says (exponent 0.99, as YCSB): a few very often, most hardly ever. Drawn from the
 * exact distribution through its cumulative sums; the popular ones are spread over the range.
 */
import type { Random } from '../../src/platform/types.ts'

const EXPONENT = 0.99
const TWO_32 = 2 ** 32

export class Zipf {
  readonly #sums: Float64Array
  readonly #places: Uint32Array
  readonly #random: Random

  constructor(count: number, random: Random) {
    this.#random = random
    this.#sums = new Float64Array(count)
    this.#places = new Uint32Array(count)
    let sum = 0
    for (let rank = 0; rank < count; rank++) {
      sum += (rank + 1) ** -EXPONENT
      this.#sums[rank] = sum
      // A random permutation, inside out (Fisher and Yates).
      const other = random.below(rank + 1)
      this.#places[rank] = this.#places[other]!
      this.#places[other] = rank
    }
  }

  /** 0 … count − 1. */
  next(): number {
    const sums = this.#sums
    const wanted = (this.#random.u32() / TWO_32) * sums[sums.length - 1]!
    let low = 0
    let high = sums.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (sums[middle]! > wanted) high = middle
      else low = middle + 1
    }
    return this.#places[low]!
  }
}
