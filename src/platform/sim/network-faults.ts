/**
 * What goes wrong between nodes. May be changed at any time; all off at first. A cut swallows frames in silence: nobody is
 * told, as with a cable that was pulled. Between endpoints of one node nothing goes wrong.
 */

export type SwitchName = 'tor-a' | 'tor-b'

export class NetworkFaults {
  /** Probability that a frame is lost. */
  loss = 0
  /** Probability that a frame comes twice. */
  duplication = 0
  /** Probability that later frames overtake a frame. */
  reorder = 0
  /** Probability that a frame, and all behind it, come late; and by how much, ms. */
  delay = 0
  delayMs = { min: 1, max: 100 }
  /** Frames that met a fault, by kind. */
  readonly injected = { loss: 0, duplication: 0, reorder: 0, delay: 0, cut: 0 }
  readonly #cuts = new Set<{ readonly from: string; readonly to: string }>()
  readonly #isolated = new Map<string, number>()
  readonly #lostSwitches = new Set<SwitchName>()

  /** Frames from one node to another vanish; both ways unless `oneWay`. Returns what ends it. */
  cut(from: string, to: string, oneWay: boolean): () => void {
    const cuts = oneWay
      ? [{ from, to }]
      : [
          { from, to },
          { from: to, to: from },
        ]
    for (const cut of cuts) this.#cuts.add(cut)
    return () => {
      for (const cut of cuts) this.#cuts.delete(cut)
    }
  }

  /** Frames between a node and all others vanish. Returns what ends it. */
  isolate(node: string): () => void {
    this.#isolated.set(node, (this.#isolated.get(node) ?? 0) + 1)
    let ended = false
    return () => {
      if (ended) return
      ended = true
      const left = (this.#isolated.get(node) ?? 1) - 1
      if (left > 0) this.#isolated.set(node, left)
      else this.#isolated.delete(node)
    }
  }

  /** With one of the two switches of each rack gone, the other carries all; with both, nothing leaves a node. */
  loseSwitch(name: SwitchName): void {
    this.#lostSwitches.add(name)
  }

  restoreSwitch(name: SwitchName): void {
    this.#lostSwitches.delete(name)
  }

  /** The probabilities go back to zero. */
  calm(): void {
    this.loss = 0
    this.duplication = 0
    this.reorder = 0
    this.delay = 0
  }

  /** All is well again. */
  heal(): void {
    this.calm()
    this.#cuts.clear()
    this.#isolated.clear()
    this.#lostSwitches.clear()
  }

  isCut(from: string, to: string): boolean {
    if (this.#lostSwitches.size === 2 || this.#isolated.has(from) || this.#isolated.has(to)) return true
    for (const cut of this.#cuts) if (cut.from === from && cut.to === to) return true
    return false
  }

  /** Share of the bandwidth that is left. */
  get bandwidth(): number {
    return this.#lostSwitches.size === 1 ? 0.5 : 1
  }
}
