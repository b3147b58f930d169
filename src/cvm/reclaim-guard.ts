/**
 * This CVM's part in keeping dedupe and reclaim apart (curator/reclaim.ts has the whole argument): from `begin` on,
 * every candidate that a write looks at is noted, so that the sweep spares it.
 */
import { Bitset } from '../base/bitset.ts'

export class ReclaimGuard {
  private hits: Map<number, Bitset> | undefined

  begin(): void {
    this.hits = new Map()
  }

  end(): void {
    this.hits = undefined
  }

  /** Called by the write path at each candidate, before its bytes are compared. */
  note(egroup: number, ref: number): void {
    if (this.hits === undefined) return
    let slots = this.hits.get(egroup)
    if (slots === undefined) {
      slots = new Bitset()
      this.hits.set(egroup, slots)
    }
    slots.set(ref >>> 3)
  }

  /** Slots looked at since `begin`, by egroup; `undefined` when no reclaim runs here. */
  get noted(): ReadonlyMap<number, Bitset> | undefined {
    return this.hits
  }
}
