/**
 * A map from strings that can be walked in key order from any prefix. Lookup is that of a `Map`; the order is kept in
 * runs of up to 512 keys, found by binary search, so an insert or delete moves at most one run and a walk is a plain
 * array scan. (One sorted array would move every key behind the new one; sorting on demand would make each listing
 * after a change cost n log n.)
 *
 * Order is that of UTF-16 code units: byte order of UTF-8 for every key without surrogates.
 */

const RUN_KEYS_MAX = 512

export class SortedMap<V> {
  readonly #values = new Map<string, V>()
  /** Never empty runs, each sorted, in order. */
  readonly #runs: string[][] = []

  get size(): number {
    return this.#values.size
  }

  get(key: string): V | undefined {
    return this.#values.get(key)
  }

  has(key: string): boolean {
    return this.#values.has(key)
  }

  set(key: string, value: V): void {
    const before = this.#values.size
    this.#values.set(key, value)
    if (this.#values.size > before) this.#insert(key)
  }

  /** `false` when it was not there. */
  delete(key: string): boolean {
    if (!this.#values.delete(key)) return false
    const index = this.#runOf(key)
    const run = this.#runs[index]!
    run.splice(lowerBound(run, key), 1)
    if (run.length === 0) this.#runs.splice(index, 1)
    return true
  }

  /** Walks the keys that start with `prefix`, in order. The map must not change meanwhile. */
  *entries(prefix: string): Generator<[string, V]> {
    let index = this.#runOf(prefix)
    let at = lowerBound(this.#runs[index] ?? [], prefix)
    for (; index < this.#runs.length; index++, at = 0) {
      const run = this.#runs[index]!
      for (; at < run.length; at++) {
        const key = run[at]!
        if (!key.startsWith(prefix)) return
        yield [key, this.#values.get(key)!]
      }
    }
  }

  #insert(key: string): void {
    if (this.#runs.length === 0) {
      this.#runs.push([key])
      return
    }
    const index = this.#runOf(key)
    const run = this.#runs[index]!
    const at = lowerBound(run, key)
    if (run.length < RUN_KEYS_MAX) {
      run.splice(at, 0, key)
    } else if (at === run.length) {
      // Ascending keys, as from a listing or a counter, fill each run instead of leaving it half empty.
      this.#runs.splice(index + 1, 0, [key])
    } else {
      const upper = run.splice(RUN_KEYS_MAX / 2)
      this.#runs.splice(index + 1, 0, upper)
      if (at <= run.length) run.splice(at, 0, key)
      else upper.splice(at - run.length, 0, key)
    }
  }

  /** Index of the last run whose first key is not after `key`; 0 when there is none. */
  #runOf(key: string): number {
    let low = 0
    let high = this.#runs.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.#runs[middle]![0]! <= key) low = middle
      else high = middle - 1
    }
    return low
  }
}

/** Index of the first key that is not before `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (keys[middle]! < key) low = middle + 1
    else high = middle
  }
  return low
}
