/**
 * Exclusive locks over ranges [start, end) of block numbers (or any integers).
 *
 * Fairness: a request waits for every range that was held or asked for before it and overlaps it. So overlapping
 * requests are served in the order in which they came, nobody starves, and requests that touch nothing in common
 * never wait for each other. A task that holds one range and asks for another that overlaps it waits for itself: do
 * not. The work is linear in the number of ranges held and waited for, which the in-flight places of a vDisk bound.
 */
import { invariant } from './errors.ts'

interface Entry {
  readonly start: number
  readonly end: number
  /** Ranges that came before and overlap; 0 means held. */
  blockers: number
  wake: (() => void) | undefined
}

export class RangeLock {
  /** Held and waiting, in order of arrival. */
  readonly #entries: Entry[] = []
  #held = 0

  /** Ranges held now. */
  get held(): number {
    return this.#held
  }

  /** Requests that wait now. */
  get waiting(): number {
    return this.#entries.length - this.#held
  }

  /** Takes the range when nothing that overlaps it is held or waited for. */
  tryLock(start: number, end: number): boolean {
    if (this.#countOverlaps(start, end) > 0) return false
    this.#entries.push({ start, end, blockers: 0, wake: undefined })
    this.#held++
    return true
  }

  /** Resolves when the caller holds the range. */
  lock(start: number, end: number): Promise<void> {
    const blockers = this.#countOverlaps(start, end)
    const entry: Entry = { start, end, blockers, wake: undefined }
    this.#entries.push(entry)
    if (blockers === 0) {
      this.#held++
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      entry.wake = resolve
    })
  }

  /** Gives back a range, with the same bounds as it was locked with. */
  unlock(start: number, end: number): void {
    const entries = this.#entries
    const index = entries.findIndex(
      (entry) => entry.blockers === 0 && entry.start === start && entry.end === end,
    )
    invariant(index >= 0, 'a range is unlocked by its holder, with the bounds it was locked with')
    entries.splice(index, 1)
    this.#held--
    for (let at = index; at < entries.length; at++) {
      const later = entries[at]!
      if (later.start >= end || later.end <= start) continue
      if (--later.blockers === 0) {
        this.#held++
        later.wake?.()
      }
    }
  }

  #countOverlaps(start: number, end: number): number {
    invariant(start < end, 'a locked range is not empty')
    let count = 0
    for (const entry of this.#entries) {
      if (entry.start < end && entry.end > start) count++
    }
    return count
  }
}
