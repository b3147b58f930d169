/** Where each block of the replayed vDisk is, two bits' worth in a byte, in pages that exist only where needed. */

/** Only the source node has it. */
export const REMOTE = 0
/** Written here after the move. */
export const WRITTEN = 1
/** Fetched and kept: without the policy it would be remote. */
export const HELD = 2

const PAGE_BLOCKS = 4096

export class BlockStates {
  readonly #pages = new Map<number, Uint8Array>()
  #lastIndex = -1
  #lastPage: Uint8Array | undefined

  get(block: number): number {
    const page = this.#page(Math.floor(block / PAGE_BLOCKS))
    return page === undefined ? REMOTE : page[block % PAGE_BLOCKS]!
  }

  set(block: number, state: number): void {
    const index = Math.floor(block / PAGE_BLOCKS)
    let page = this.#page(index)
    if (page === undefined) {
      page = new Uint8Array(PAGE_BLOCKS)
      this.#pages.set(index, page)
      this.#lastPage = page
    }
    page[block % PAGE_BLOCKS] = state
  }

  #page(index: number): Uint8Array | undefined {
    if (index !== this.#lastIndex) {
      this.#lastIndex = index
      this.#lastPage = this.#pages.get(index)
    }
    return this.#lastPage
  }
}
