/**
 * How long VMs went without an answer around events that break something. A gap counts for an event when it ended
 * after it; a gap that began before counts whole, because that is what the VM saw.
 */
import type { NodeId } from '../../base/units.ts'
import { micros } from './latency-log.ts'
import type { Pause } from './report.ts'

/** A gap that begins later than this after an event is not taken for its doing. Milliseconds. */
const HORIZON_MS = 30_000

interface Watch {
  readonly event: string
  readonly atMs: number
  readonly hits: ReadonlySet<string>
  /** Longest gap so far, by VM. */
  readonly longest: Map<string, number>
}

export class PauseMeter {
  readonly #watches: Watch[] = []
  /** Last answer by VM. */
  readonly #lastMs = new Map<string, number>()

  /** An event happened. `hits`: the VMs that ran on the node it hit. */
  watch(event: string, atMs: number, hits: Iterable<string>): void {
    this.#watches.push({ event, atMs, hits: new Set(hits), longest: new Map() })
  }

  answered(vm: string, nowMs: number): void {
    const lastMs = this.#lastMs.get(vm)
    this.#lastMs.set(vm, nowMs)
    if (lastMs === undefined) return
    for (let i = this.#watches.length - 1; i >= 0; i--) {
      const watch = this.#watches[i]!
      if (lastMs > watch.atMs + HORIZON_MS) continue
      const gapMs = nowMs - lastMs
      if (gapMs > (watch.longest.get(vm) ?? 0)) watch.longest.set(vm, gapMs)
    }
  }

  /** `waiting`: VMs with requests that were not answered when the run ended at `nowMs`. */
  report(nowMs: number, waiting: ReadonlySet<string>): Pause[] {
    const pauses: Pause[] = []
    for (const { event, atMs, hits, longest } of this.#watches) {
      for (const [vm, lastMs] of this.#lastMs) {
        const openMs = waiting.has(vm) && lastMs <= atMs + HORIZON_MS ? nowMs - lastMs : 0
        const closedMs = longest.get(vm) ?? 0
        const pauseMs = micros(Math.max(openMs, closedMs))
        pauses.push({ event, atMs, vm, hit: hits.has(vm), pauseMs, ended: openMs <= closedMs })
      }
    }
    return pauses
  }
}

/** VMs by the node they run on now. */
export class Whereabouts {
  readonly #nodeOf = new Map<string, NodeId>()

  move(vm: string, node: NodeId): void {
    this.#nodeOf.set(vm, node)
  }

  nodeOf(vm: string): NodeId | undefined {
    return this.#nodeOf.get(vm)
  }

  on(node: NodeId): string[] {
    return [...this.#nodeOf].filter(([, at]) => at === node).map(([vm]) => vm)
  }
}
