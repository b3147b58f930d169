/**
 * How long VMs waited around events that break something: the longest time without any answer, and the longest time
 * that one request took. The two differ when a part of the requests is still answered, from a cache for instance. A gap
 * counts for an event when it ended after it; one that began before counts whole, because that is what the VM saw.
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
  readonly worst: Map<string, Worst>
}

interface Worst {
  gapMs: number
  requestMs: number
}

export class PauseMeter {
  readonly #watches: Watch[] = []
  /** Last answer by VM. */
  readonly #lastMs = new Map<string, number>()

  /** An event happened. `hits`: the VMs that ran on the node it hit. */
  watch(event: string, atMs: number, hits: Iterable<string>): void {
    this.#watches.push({ event, atMs, hits: new Set(hits), worst: new Map() })
  }

  /** `requestMs`: how long the request took that was answered at `nowMs`. */
  answered(vm: string, nowMs: number, requestMs: number): void {
    const lastMs = this.#lastMs.get(vm)
    this.#lastMs.set(vm, nowMs)
    if (lastMs === undefined) return
    for (const watch of this.#watches) {
      if (lastMs > watch.atMs + HORIZON_MS) continue
      let worst = watch.worst.get(vm)
      if (worst === undefined) {
        worst = { gapMs: 0, requestMs: 0 }
        watch.worst.set(vm, worst)
      }
      worst.gapMs = Math.max(worst.gapMs, nowMs - lastMs)
      worst.requestMs = Math.max(worst.requestMs, requestMs)
    }
  }

  /**
   * Of the VMs that were answered after an event, or wait to be. `waiting`: those with requests that were not answered
   * when the run ended at `nowMs`.
   */
  report(nowMs: number, waiting: ReadonlySet<string>): Pause[] {
    const pauses: Pause[] = []
    for (const { event, atMs, hits, worst } of this.#watches) {
      for (const [vm, lastMs] of this.#lastMs) {
        const openMs = waiting.has(vm) && lastMs <= atMs + HORIZON_MS ? nowMs - lastMs : 0
        const { gapMs, requestMs } = worst.get(vm) ?? { gapMs: 0, requestMs: 0 }
        if (openMs === 0 && gapMs === 0) continue
        pauses.push({
          event,
          atMs,
          vm,
          hit: hits.has(vm),
          pauseMs: micros(Math.max(openMs, gapMs)),
          slowestMs: micros(requestMs),
          ended: openMs <= gapMs,
        })
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
