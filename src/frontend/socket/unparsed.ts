/**
 * A copy of the rest of a chunk that a parser of a connection's bytes keeps while the other side of it makes it wait.
 * Nothing but one chunk: the owner of the socket stops reading meanwhile.
 */
export class Unparsed {
  #rest: Buffer | undefined
  /** Memory that was handed out, and is nobody else's: what is kept of it again needs no copy. */
  #own: Buffer | undefined

  /** What of `chunk` begins at `at` is for later. Nothing may be kept already. */
  keep(chunk: Buffer, at: number): void {
    const rest = chunk.subarray(at)
    this.#rest = rest.length === 0 || chunk === this.#own ? rest : Buffer.from(rest)
    this.#own = undefined
  }

  /** What was kept, from now on the caller's. */
  take(): Buffer {
    const rest = this.#rest ?? EMPTY
    this.#rest = undefined
    this.#own = rest
    return rest
  }

  /** Lets go of what was kept. */
  drop(): void {
    this.#rest = undefined
    this.#own = undefined
  }

  /** What was kept, and `chunk` behind it: `chunk` itself when nothing was. */
  takeWith(chunk: Buffer): Buffer {
    const rest = this.take()
    if (rest.length === 0) return chunk
    this.#own = Buffer.concat([rest, chunk])
    return this.#own
  }
}

const EMPTY = Buffer.alloc(0)
