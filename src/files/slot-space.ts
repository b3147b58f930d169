/**
 * Which slots for small files are free. Of those below `bound` that nobody uses when the table is loaded it is not known
 * whether they are zeros: the owner before may have ended between the commit that freed one and the erasing of it. Such a
 * slot is handed out as not clean, and is erased before it is used.
 */
import { fileError } from './file-error.ts'
import { NUMBERS_RESERVED, SLOTS_MAX } from './limits.ts'

export class SlotSpace {
  #bound: number
  #next: number
  readonly #used = new Set<number>()
  /** Free, and zeros. */
  readonly #clean: number[] = []
  /** Below this slot, whatever is in neither list is free and not clean. */
  readonly #unknownEnd: number
  #unknownNext = 0

  /** @param bound slots from here on were never used. */
  constructor(bound: number) {
    this.#bound = bound
    this.#next = bound
    this.#unknownEnd = bound
  }

  /** Slots from here on were never used, once `reserved` is durable. */
  get bound(): number {
    return this.#bound
  }

  /** While the table is loaded. */
  use(slot: number): void {
    this.#used.add(slot)
  }

  /** `reserved`: the new bound must be committed with the use. @throws `NO_SPACE` */
  take(): { slot: number; clean: boolean; reserved: boolean } {
    const clean = this.#clean.pop()
    if (clean !== undefined) return { slot: clean, clean: true, reserved: false }
    for (; this.#unknownNext < this.#unknownEnd; this.#unknownNext++) {
      if (this.#used.has(this.#unknownNext)) continue
      return { slot: this.#unknownNext++, clean: false, reserved: false }
    }
    if (this.#next === SLOTS_MAX)
      throw fileError('NO_SPACE', 'the file system has no room for more small files')
    const reserved = this.#next === this.#bound
    if (reserved) this.#bound = Math.min(this.#bound + NUMBERS_RESERVED, SLOTS_MAX)
    return { slot: this.#next++, clean: true, reserved }
  }

  /** The slot is not used any more, and reads as zeros. */
  freed(slot: number): void {
    this.#clean.push(slot)
  }
}
