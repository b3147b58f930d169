/**
 * The entries of one directory in memory: by name, and in the order of their cookies. Cookies only grow, so a new entry
 * goes to the end; a removed one stays in the order until half of it is dead. Nothing costs more the longer it is.
 */
import type { FileId } from '../api.ts'

/** Below this many dead entries the order is left as it is. */
const DEAD_MIN = 64

export interface Entry {
  /** Bytes, one a character. */
  readonly name: string
  readonly id: FileId
  readonly cookie: number
}

export class Directory {
  readonly #byName = new Map<string, Entry>()
  /** By cookie. An entry that is not the one of its name any more is dead. */
  #order: Entry[] = []

  get size(): number {
    return this.#byName.size
  }

  get(name: string): Entry | undefined {
    return this.#byName.get(name)
  }

  /** The cookie must be above all that were ever there, and the name free. */
  add(entry: Entry): void {
    this.#byName.set(entry.name, entry)
    this.#order.push(entry)
  }

  remove(name: string): void {
    this.#byName.delete(name)
    const dead = this.#order.length - this.#byName.size
    if (dead < DEAD_MIN || dead < this.#byName.size) return
    this.#order = this.#order.filter((entry) => this.#byName.get(entry.name) === entry)
  }

  /** Up to `limit` entries behind the cookie, and whether they are the last. */
  after(cookie: number, limit: number): { entries: Entry[]; end: boolean } {
    const entries: Entry[] = []
    for (let at = this.#firstAfter(cookie); at < this.#order.length; at++) {
      const entry = this.#order[at]!
      if (this.#byName.get(entry.name) !== entry) continue
      if (entries.length === limit) return { entries, end: false }
      entries.push(entry)
    }
    return { entries, end: true }
  }

  #firstAfter(cookie: number): number {
    let low = 0
    let high = this.#order.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#order[middle]!.cookie <= cookie) low = middle + 1
      else high = middle
    }
    return low
  }
}
