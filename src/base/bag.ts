/**
 * Things under way, that come and go by the ten thousand a second. A `Set` of them would do, but not well: when its table is
 * replaced, the old one points to the new one, so one old table that was moved to the old generation keeps every later
 * one alive until the next full collection, with all that was in it. Half of what a write allocated was promoted that way.
 */

/** What can be in a bag: it knows its place, and is in one bag at most. */
export interface BagItem {
  /** Where it is; −1: in no bag. Only the bag changes it. */
  bagIndex: number
}

/** In no order. */
export class Bag<T extends BagItem> {
  readonly #items: T[] = []

  get size(): number {
    return this.#items.length
  }

  add(item: T): void {
    item.bagIndex = this.#items.length
    this.#items.push(item)
  }

  /** Nothing happens when it is not there. */
  remove(item: T): void {
    const at = item.bagIndex
    if (at < 0) return
    item.bagIndex = -1
    const last = this.#items.pop()!
    if (last === item) return
    this.#items[at] = last
    last.bagIndex = at
  }

  /** A copy: items may come and go while it is looked through. */
  all(): T[] {
    return this.#items.slice()
  }
}
