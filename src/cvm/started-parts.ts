/** What a start has opened so far, so that one that fails leaves nothing running: no watch, no endpoint, no lease. */

export class StartedParts {
  private readonly ends: Array<() => void | Promise<void>> = []
  private ended = false

  /** Waits for a part, and notes how it ends. One that opens after `endAll` is ended at once. */
  async add<T>(opening: T | Promise<T>, end: (part: T) => void | Promise<void>): Promise<T> {
    const part = await opening
    if (this.ended) await end(part)
    else this.ends.push(() => end(part))
    return part
  }

  /** Ends all parts, the last one first. Never rejects: what cannot be ended does not keep the others. */
  async endAll(): Promise<void> {
    this.ended = true
    for (const end of this.ends.splice(0).reverse()) {
      try {
        await end()
      } catch {
        // The failure of the start says more than that of its undoing.
      }
    }
  }
}
