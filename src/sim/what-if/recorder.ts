/**
 * Collects what a run shows: answers as they come, counters and gauges at the end of each window and phase. All times
 * are milliseconds since the load began.
 */
import type { ClusterStats } from '../../api.ts'
import { LatencyLog, type Mark, micros, NO_ANSWERS } from './latency-log.ts'
import type { AnswerClass, FullRf, Latencies, Phase, Space, Traffic, Window } from './report.ts'

/** Counters at one moment. */
interface Reading {
  readonly atMs: number
  readonly answers: Mark
  readonly traffic: Traffic
}

interface Shortage {
  readonly event: string
  readonly atMs: number
  peakBytes: number
  restoredMs: number | undefined
}

export class Recorder {
  readonly #log = new LatencyLog()
  readonly #windows: Window[] = []
  readonly #phases: Phase[] = []
  readonly #shortages: Shortage[] = []
  readonly #start: Reading
  #purpleBytes = 0
  #windowStart: Reading
  #phaseStart: Reading
  #phaseLabel = 'start'

  /** `stats` as the load begins: what filled the disks does not count. */
  constructor(stats: ClusterStats) {
    this.#start = { atMs: 0, answers: NO_ANSWERS, traffic: counted(stats, 0) }
    this.#windowStart = this.#start
    this.#phaseStart = this.#start
  }

  answered(kind: AnswerClass, latencyMs: number): void {
    this.#log.add(kind, latencyMs)
  }

  redirected(bytes: number): void {
    this.#purpleBytes += bytes
  }

  endWindow(atMs: number, stats: ClusterStats): Window | undefined {
    if (atMs <= this.#windowStart.atMs) return undefined
    const from = this.#windowStart
    const to = this.#reading(atMs, stats)
    const window = { ...this.#between(from, to), space: spaceOf(stats) }
    this.#windows.push(window)
    this.#windowStart = to
    return window
  }

  /** Ends the phase; the next one is called `label`. Two events at one time share a phase. */
  beginPhase(atMs: number, stats: ClusterStats, label: string): void {
    if (atMs > this.#phaseStart.atMs) {
      this.#endPhase(atMs, stats)
      this.#phaseLabel = label
    } else {
      this.#phaseLabel = this.#phaseLabel === 'start' ? label : `${this.#phaseLabel}, ${label}`
    }
  }

  /** From now on it is watched when all bytes have their copies again. */
  watchShortage(event: string, atMs: number): void {
    this.#shortages.push({ event, atMs, peakBytes: 0, restoredMs: undefined })
  }

  /** Call it often: `stats` tells how many bytes are short of copies now. */
  look(atMs: number, stats: ClusterStats): void {
    const bytes = stats.underReplicatedBytes
    for (const shortage of this.#shortages) {
      if (shortage.restoredMs !== undefined) continue
      if (bytes > 0) shortage.peakBytes = Math.max(shortage.peakBytes, bytes)
      else if (shortage.peakBytes > 0) shortage.restoredMs = micros(atMs - shortage.atMs)
    }
  }

  finish(
    atMs: number,
    stats: ClusterStats,
  ): { latency: Latencies; traffic: Traffic; windows: Window[]; phases: Phase[]; fullRf: FullRf[] } {
    this.endWindow(atMs, stats)
    if (atMs > this.#phaseStart.atMs) this.#endPhase(atMs, stats)
    const { latency, traffic } = this.#between(this.#start, this.#reading(atMs, stats))
    const fullRf = this.#shortages.map(({ event, atMs: eventMs, peakBytes, restoredMs }) => ({
      event,
      atMs: eventMs,
      peakBytes,
      restoredMs: peakBytes === 0 ? 0 : restoredMs,
    }))
    return { latency, traffic, windows: this.#windows, phases: this.#phases, fullRf }
  }

  #endPhase(atMs: number, stats: ClusterStats): void {
    const to = this.#reading(atMs, stats)
    this.#phases.push({ ...this.#between(this.#phaseStart, to), label: this.#phaseLabel })
    this.#phaseStart = to
  }

  #reading(atMs: number, stats: ClusterStats): Reading {
    return { atMs: micros(atMs), answers: this.#log.mark(), traffic: counted(stats, this.#purpleBytes) }
  }

  #between(
    from: Reading,
    to: Reading,
  ): { fromMs: number; toMs: number; latency: Latencies; traffic: Traffic } {
    return {
      fromMs: from.atMs,
      toMs: to.atMs,
      latency: this.#log.summary(from.answers, to.answers),
      traffic: minus(to.traffic, from.traffic),
    }
  }
}

function counted(stats: ClusterStats, purpleBytes: number): Traffic {
  return {
    localBytes: stats.read.localBytes,
    redBytes: stats.read.remoteBytes,
    greenBytes: stats.localised.bytes,
    purpleBytes,
    writtenBytes: stats.written.bytes,
    backgroundBytes: stats.backgroundBytes,
    externalBytes: stats.network.externalBytes,
  }
}

/** Never below zero: a node that left took its counters along. */
function minus(later: Traffic, earlier: Traffic): Traffic {
  const left = (key: keyof Traffic): number => Math.max(0, later[key] - earlier[key])
  return {
    localBytes: left('localBytes'),
    redBytes: left('redBytes'),
    greenBytes: left('greenBytes'),
    purpleBytes: left('purpleBytes'),
    writtenBytes: left('writtenBytes'),
    backgroundBytes: left('backgroundBytes'),
    externalBytes: left('externalBytes'),
  }
}

function spaceOf(stats: ClusterStats): Space {
  const ssd = { usedBytes: 0, sizeBytes: 0 }
  const hdd = { usedBytes: 0, sizeBytes: 0 }
  const nodes: Record<string, { ssdBytes: number; hddBytes: number }> = {}
  for (const [node, tiers] of Object.entries(stats.nodes)) {
    ssd.usedBytes += tiers.ssd.usedBytes
    ssd.sizeBytes += tiers.ssd.sizeBytes
    hdd.usedBytes += tiers.hdd.usedBytes
    hdd.sizeBytes += tiers.hdd.sizeBytes
    nodes[node] = { ssdBytes: tiers.ssd.usedBytes, hddBytes: tiers.hdd.usedBytes }
  }
  const { logicalBytes, storedBytes, partialBytes, underReplicatedBytes } = stats
  return { logicalBytes, storedBytes, partialBytes, underReplicatedBytes, ssd, hdd, nodes }
}
