/**
 * A copy of the rest of a chunk that a parser of a connection's bytes keeps while the other side of it makes it wait. Nothing but
 * one chunk: the owner of the socket stops reading meanwhile.
 */
export class Unparsed {
  #rest: Buffer | undefined

  /** What of `chunk` begins at `at` is for later. Nothing may be kept already. */
  keep(chunk: Buffer, at: number): void {
    this.#rest = at < chunk.length ? Buffer.from(chunk.subarray(at)) : undefined
  }

  /** What was kept, from now on the caller's. */
  take(): Buffer {
    const rest = this.#rest ?? EMPTY
    this.drop()
    return rest
  }

  /** Lets go of what was kept. */
  drop(): void {
    this.#rest = undefined
  }

  /** What was kept, and `chunk` behind it: `chunk` itself when nothing was. */
  takeWith(chunk: Buffer): Buffer {
    const rest = this.take()
    return rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
  }
}

const EMPTY = Buffer.alloc(0)
